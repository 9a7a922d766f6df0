"use strict";
(function () {
  var flips = document.querySelectorAll(".bids-sr-flip");
  flips.forEach(function (svg) {
    svg.addEventListener("click", function () { svg.classList.toggle("flipped"); });
    svg.addEventListener("keydown", function (event) {
      if (event.key !== " " && event.key !== "Enter") { return; }
      event.preventDefault();
      svg.classList.toggle("flipped");
    });
  });
  document.querySelectorAll("[data-flip]").forEach(function (controls) {
    var figure = controls.nextElementSibling;
    var svg = figure && figure.querySelector(".bids-sr-flip");
    if (!svg) { return; }
    controls.hidden = false;
    var buttons = controls.querySelectorAll("button");
    var timer = null;
    function mark() {
      var shown = svg.classList.contains("flipped") ? "before" : "after";
      buttons.forEach(function (button) {
        var pressed = button.dataset.show === "auto" ? timer !== null : button.dataset.show === shown;
        if (button.dataset.show !== "full") { button.setAttribute("aria-pressed", String(pressed)); }
      });
    }
    function stop() { clearInterval(timer); timer = null; }
    controls.addEventListener("click", function (event) {
      var show = event.target.dataset.show;
      if (!show) { return; }
      if (show === "full") {
        if (figure.requestFullscreen) { figure.requestFullscreen(); svg.focus(); }
        return;
      }
      var running = timer !== null;
      stop();
      if (show === "auto") {
        if (!running) { timer = setInterval(function () { svg.classList.toggle("flipped"); }, 800); }
      } else {
        svg.classList.toggle("flipped", show === "before");
      }
      mark();
    });
    svg.addEventListener("click", function () { stop(); mark(); });
    new MutationObserver(mark).observe(svg, { attributes: true, attributeFilter: ["class"] });
    mark();
  });
  var advances = [];
  document.querySelectorAll("[data-layers]").forEach(function (controls) {
    var figure = controls.nextElementSibling;
    var svg = figure && figure.querySelector(".bids-sr-layers");
    if (!svg) { return; }
    controls.hidden = false;
    var layers = Array.prototype.slice.call(svg.querySelectorAll(".layer"));
    var names = layers.map(function (layer, number) {
      return layer.getAttribute("aria-label") || "Image " + (number + 1);
    });
    var caption = figure.querySelector("[data-shown]");
    var timer = null;
    function add(text, layer) {
      var button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.dataset.layer = layer;
      controls.appendChild(button);
      return button;
    }
    var buttons = names.map(function (name, number) { return add(name, number); });
    var alternate = add("Alternate", "auto");
    add("Full screen", "full");
    function current() {
      return layers.findIndex(function (layer) { return layer.classList.contains("shown"); });
    }
    function show(place) {
      layers.forEach(function (layer, number) { layer.classList.toggle("shown", number === place); });
      buttons.forEach(function (button, number) {
        button.setAttribute("aria-pressed", String(number === place));
      });
      alternate.setAttribute("aria-pressed", String(timer !== null));
      if (caption && timer === null) { caption.textContent = "Shown: " + names[place] + ". "; }
    }
    function next() { show((current() + 1) % layers.length); }
    function stop() { clearInterval(timer); timer = null; }
    function step() { stop(); next(); }
    advances.push(step);
    controls.addEventListener("click", function (event) {
      var layer = event.target.dataset.layer;
      if (!layer) { return; }
      if (layer === "full") {
        if (figure.requestFullscreen) { figure.requestFullscreen(); svg.focus(); }
        return;
      }
      var running = timer !== null;
      stop();
      if (layer !== "auto") { show(Number(layer)); return; }
      if (!running) { timer = setInterval(next, 800); }
      show(current());
    });
    svg.addEventListener("click", step);
    svg.addEventListener("keydown", function (event) {
      if (event.key !== " " && event.key !== "Enter") { return; }
      event.preventDefault();
      step();
    });
    show(current());
  });
  document.addEventListener("keydown", function (event) {
    if (event.key !== "f" && event.key !== "F") { return; }
    if (event.ctrlKey || event.metaKey || event.altKey) { return; }
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) { return; }
    advances.forEach(function (step) { step(); });
    flips.forEach(function (svg) { svg.classList.toggle("flipped"); });
  });
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (part) { part.open = true; });
  });
})();

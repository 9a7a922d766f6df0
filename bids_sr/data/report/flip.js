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
      var shown = timer ? "auto" : svg.classList.contains("flipped") ? "before" : "after";
      buttons.forEach(function (button) {
        if (button.dataset.show !== "full") {
          button.setAttribute("aria-pressed", String(button.dataset.show === shown));
        }
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
  document.querySelectorAll("[data-layers]").forEach(function (controls) {
    var figure = controls.nextElementSibling;
    var svg = figure && figure.querySelector(".bids-sr-layers");
    if (!svg) { return; }
    controls.hidden = false;
    var layers = Array.prototype.slice.call(svg.querySelectorAll(".layer"));
    var buttons = controls.querySelectorAll("button");
    var timer = null;
    function current() {
      return layers.findIndex(function (layer) { return layer.classList.contains("shown"); });
    }
    function show(place) {
      layers.forEach(function (layer, number) { layer.classList.toggle("shown", number === place); });
      buttons.forEach(function (button) {
        if (button.dataset.layer !== "full") {
          var pressed = timer ? button.dataset.layer === "auto" : button.dataset.layer === String(place);
          button.setAttribute("aria-pressed", String(pressed));
        }
      });
    }
    function next() { show((current() + 1) % layers.length); }
    function stop() { clearInterval(timer); timer = null; }
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
    svg.addEventListener("click", function () { stop(); next(); });
    svg.addEventListener("keydown", function (event) {
      if (event.key !== " " && event.key !== "Enter") { return; }
      event.preventDefault();
      stop();
      next();
    });
    show(current());
  });
  document.addEventListener("keydown", function (event) {
    if (event.key !== "f" && event.key !== "F") { return; }
    if (event.ctrlKey || event.metaKey || event.altKey) { return; }
    flips.forEach(function (svg) { svg.classList.toggle("flipped"); });
  });
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (part) { part.open = true; });
  });
})();

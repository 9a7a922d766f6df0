"use strict";
(function () {
  function selected(text) {
    var field = document.createElement("textarea");
    field.value = text;
    field.setAttribute("readonly", "");
    field.style.position = "fixed";
    field.style.opacity = "0";
    document.body.appendChild(field);
    field.select();
    var done = false;
    try { done = document.execCommand("copy"); } catch (error) { done = false; }
    document.body.removeChild(field);
    return done;
  }
  function copy(text, tell) {
    if (navigator.clipboard && window.isSecureContext) {
      navigator.clipboard.writeText(text).then(
        function () { tell(true); }, function () { tell(selected(text)); });
    } else {
      tell(selected(text));
    }
  }
  document.querySelectorAll("button.copy").forEach(function (button) {
    var source = button.dataset.source ? document.getElementById(button.dataset.source)
      : button.parentNode.querySelector("pre");
    if (!source) { return; }
    var name = button.textContent;
    button.hidden = false;
    button.setAttribute("aria-live", "polite");
    button.addEventListener("click", function () {
      copy(source.innerText.trim(), function (done) {
        button.textContent = done ? "Copied" : "Select it and press Ctrl+C";
        setTimeout(function () { button.textContent = name; button.focus(); }, 1500);
      });
    });
  });
})();

"use strict";
(function () {
  var table = document.getElementById("images");
  var body = table.tBodies[0];
  var heads = Array.prototype.slice.call(table.tHead.rows[0].cells);
  var rows = Array.prototype.slice.call(body.rows);

  function key(row, column) {
    var cell = row.cells[column];
    if (cell.classList.contains("number") || cell.dataset.number !== undefined) {
      return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
    }
    return cell.textContent.trim();
  }
  heads.forEach(function (head, column) {
    var button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.textContent = "";
    head.appendChild(button);
    button.addEventListener("click", function () {
      var down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      rows.sort(function (one, two) {
        var a = key(one, column), b = key(two, column);
        // What is not known goes to the end in both directions.
        if (a === null || b === null) { return (a === null) - (b === null); }
        var order = typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
        return down ? -order : order;
      });
      rows.forEach(function (row) { body.appendChild(row); });
    });
  });

  var filter = document.getElementById("filter");
  var shown = document.getElementById("shown");
  filter.addEventListener("input", function () {
    var words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    var count = 0;
    rows.forEach(function (row) {
      var text = row.textContent.toLowerCase();
      var keep = words.every(function (word) { return text.indexOf(word) >= 0; });
      row.hidden = !keep;
      count += keep;
    });
    shown.textContent = words.length ? count + " of " + rows.length + " images" : "";
  });

  var marked = [];
  function mark(event) {
    var source = event.target.closest("[data-n]");
    marked.forEach(function (part) { part.classList.remove("marked"); });
    marked = source ? Array.prototype.slice.call(
      document.querySelectorAll('[data-n="' + source.dataset.n + '"]')) : [];
    marked.forEach(function (part) { part.classList.add("marked"); });
  }
  document.addEventListener("mouseover", mark);
})();

/* The calendar by mouse: a campaign is dragged to another day and moved there as its own form would do it, so what
   cannot be is refused by the same sentence. Without this script, or a mouse, the forms remain. */
(() => {
  "use strict";
  const form = document.querySelector("[data-move]");
  let dragged = null;
  const day = (event) => event.target.closest?.("[data-day]");
  const mark = (cell) => {
    for (const marked of document.querySelectorAll(".over")) if (marked !== cell) marked.classList.remove("over");
    cell?.classList.add("over");
  };

  document.addEventListener("dragstart", (event) => {
    dragged = event.target.closest?.("[data-campaign]") ?? null;
    if (!dragged) return;
    if (dragged.querySelector(":popover-open")) { dragged = null; event.preventDefault(); return; } // its form is open
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", dragged.dataset.campaign);
  });
  document.addEventListener("dragover", (event) => {
    const cell = dragged && day(event);
    mark(cell);
    if (cell) event.preventDefault(); // else nothing may be dropped there
  });
  document.addEventListener("drop", (event) => {
    const cell = dragged && day(event);
    if (!cell) return;
    event.preventDefault();
    if (cell === day({ target: dragged })) return;
    form.action = form.dataset.move.replace("/0/", `/${dragged.dataset.campaign}/`);
    form.elements.to.value = cell.dataset.day;
    form.submit();
  });
  document.addEventListener("dragend", () => { dragged = null; mark(null); });
})();

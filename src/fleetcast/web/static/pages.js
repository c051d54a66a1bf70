/* Small helps of pages: a sheet that holds a mistake opens by itself, one box chooses all of a list. */
(() => {
  "use strict";
  for (const sheet of document.querySelectorAll("[popover][data-open]")) sheet.showPopover();
  document.addEventListener("toggle", (event) => { // the first field of a sheet that opens is where one types
    if (event.newState === "open" && event.target.popover) event.target.querySelector("[aria-invalid], input:not([type=hidden]), textarea")?.focus();
  }, true);
  document.addEventListener("click", (event) => { // a variable goes where the text is being written
    const button = event.target.closest("[data-insert]");
    if (!button) return;
    const field = document.querySelector(button.dataset.insert);
    field.setRangeText(button.dataset.text, field.selectionStart, field.selectionEnd, "end");
    field.focus();
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });
  document.addEventListener("change", (event) => {
    const which = event.target.name === "device" && event.target.form?.elements.which;
    if (which && event.target.checked) which.value = "chosen"; // who picks one means the picked ones
    if (!event.target.matches("[data-all]")) return;
    const boxes = event.target.closest("form").querySelectorAll("input[type=checkbox][name]");
    for (const box of boxes) box.checked = event.target.checked;
  });
})();

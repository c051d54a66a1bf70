/* The stream's health. htmx swaps the fragments and reconnects; this says when the figures are old, and starts the
   stream anew when nothing has been heard for so long that the connection must be half open. When who looks is signed
   out or no member any more, the page is asked for again, and says so or leads to the door. */
(() => {
  "use strict";
  const LATE = 12000; // the server gives a sign of life every 5 s
  const notice = document.querySelector("[data-lost]");
  let stream = document.querySelector("[data-stream]");
  let heard = Date.now();
  let figures = stream.dataset.at;
  const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium", timeZone: stream.dataset.zone });

  const show = (problem) => {
    notice.textContent = `${problem} The figures are from ${figures}; trying again by itself.`;
    notice.hidden = false;
  };
  const current = () => {
    heard = Date.now();
    figures = clock.format(heard);
    notice.hidden = true;
  };
  const restart = () => {
    heard = Date.now();
    const fresh = stream.cloneNode(false);
    stream.replaceWith(fresh);
    stream = fresh;
    htmx.process(fresh);
  };

  const refused = (status) => status === 401 || status === 403 || status === 404;
  const lost = (status) => { if (refused(status)) location.reload(); else show("Connection lost."); };

  document.addEventListener("htmx:sse:after:message", (event) => {
    if (event.detail.message.event === "over") location.reload();
    else if (event.detail.message.event === "trouble") {
      heard = Date.now();
      show(event.detail.message.data);
    } else current();
  });
  document.addEventListener("htmx:sse:error", (event) => lost(event.detail.status));
  document.addEventListener("htmx:after:request", (event) => { // the first answer was no stream
    event.preventDefault();
    lost(event.detail.ctx.response.status);
  });
  document.addEventListener("visibilitychange", () => { heard = Date.now(); });
  setInterval(() => {
    if (document.hidden || Date.now() - heard < LATE) return;
    show("Connection lost.");
    restart();
  }, 1000);
})();

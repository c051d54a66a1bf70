/* What is live on a page, and its health. A stream ([data-stream]) brings changes by itself, a part ([data-live]) asks
   for itself again and again (hx-get, hx-trigger="every 2s"). htmx swaps and reconnects; this says in [data-lost] when
   the figures are old, until they are current again, and begins a stream anew that has been silent for so long that the
   connection must be half open. Nothing is hidden, and no error takes the place of a part. When who looks is signed out,
   or may not look any more, the page is asked for again, and says so or leads to the door. */
(() => {
  "use strict";
  const LATE = 12000; // a stream gives a sign of life every 5 s, a part asks oftener
  const ANSWER = 8000; // a part's request that takes longer is given up
  const notice = document.querySelector("[data-lost]");
  if (!notice) return;
  const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium", timeZone: notice.dataset.zone });
  const lost = new Set();
  let stream = document.querySelector("[data-stream]");
  let heard = Date.now();
  let figures = notice.dataset.at;

  const show = (what, problem) => {
    lost.add(what);
    notice.textContent = `${problem} The figures are from ${figures}; trying again by itself.`;
    notice.hidden = false;
  };
  const current = (what) => {
    heard = Date.now();
    figures = clock.format(heard);
    lost.delete(what);
    notice.hidden = lost.size === 0;
  };
  const refused = (status) => status === 401 || status === 403 || status === 404;
  const failed = (what, status) => {
    if (refused(status)) location.reload();
    else show(what, status === 503 ? "The server cannot tell at the moment." : "Connection lost.");
  };
  const part = (event) => {
    const asks = event.detail.ctx?.sourceElement;
    return asks?.matches("[data-live]") ? asks.id : null;
  };

  document.addEventListener("htmx:config:request", (event) => {
    if (part(event)) event.detail.ctx.request.timeout = ANSWER;
  });
  document.addEventListener("htmx:before:request", (event) => { // a page that nobody sees need not be current
    if (part(event) && document.hidden) event.preventDefault();
  });
  document.addEventListener("htmx:before:response", (event) => {
    const what = part(event), status = event.detail.ctx.response.status;
    if (!what) return;
    if (status < 400) return current(what);
    event.preventDefault();
    failed(what, status);
  });
  document.addEventListener("htmx:error", (event) => {
    const what = part(event);
    if (what) show(what, "Connection lost.");
  });

  if (!stream) return;
  const restart = () => {
    heard = Date.now();
    const fresh = stream.cloneNode(false);
    stream.replaceWith(fresh);
    stream = fresh;
    htmx.process(fresh);
  };
  document.addEventListener("htmx:sse:after:message", (event) => {
    if (event.detail.message.event === "over") location.reload();
    else if (event.detail.message.event === "trouble") {
      heard = Date.now();
      show("stream", event.detail.message.data);
    } else current("stream");
  });
  document.addEventListener("htmx:sse:error", (event) => failed("stream", event.detail.status));
  document.addEventListener("htmx:after:request", (event) => { // the first answer was no stream
    if (event.detail.ctx.sourceElement !== stream) return;
    event.preventDefault();
    failed("stream", event.detail.ctx.response.status);
  });
  document.addEventListener("visibilitychange", () => { heard = Date.now(); });
  setInterval(() => {
    if (document.hidden || Date.now() - heard < LATE) return;
    show("stream", "Connection lost.");
    restart();
  }, 1000);
})();

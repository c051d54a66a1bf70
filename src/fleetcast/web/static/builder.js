/* Writing a campaign: the server is asked again what it comes to after each change, niches become chips, a file is
   dropped, pasted, chosen or fetched, and leaving with something unsaved is asked about. Without this script the form
   is a plain form. */
(() => {
  "use strict";
  const form = document.querySelector("[data-builder]");
  if (!form) return;
  const asker = form.querySelector("[data-look]");
  let dirty = "dirty" in form.dataset;
  let busy = null; // the upload under way
  const look = () => asker?.dispatchEvent(new Event("look"));
  const changed = () => { dirty = true; look(); };

  form.elements.own_zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
  for (const kind of ["input", "change"]) form.addEventListener(kind, (event) => { if (!("quiet" in event.target.dataset)) changed(); });
  form.addEventListener("submit", (event) => {
    if (busy) { event.preventDefault(); say("The file is still on its way. Wait for it, or remove it."); return; }
    dirty = false;
  });
  window.addEventListener("beforeunload", (event) => { if (dirty) event.preventDefault(); });

  // Niches
  const niches = form.querySelector("[data-niches]");
  if (niches) {
    const held = form.elements.niches;
    const entry = held.cloneNode();
    const chips = niches.querySelector("[data-chips]");
    const suggested = niches.querySelector("[data-suggested]");
    const names = () => held.value.split(",").map((name) => name.trim()).filter(Boolean);
    const show = () => {
      chips.replaceChildren(...names().map((name) => {
        const chip = document.createElement("button");
        chip.type = "button";
        chip.className = "chip";
        chip.textContent = `${name} ×`;
        chip.setAttribute("aria-label", `Remove ${name}`);
        chip.addEventListener("click", () => { put(names().filter((other) => other !== name)); entry.focus(); });
        return chip;
      }));
      chips.hidden = !chips.childElementCount;
      for (const one of suggested?.children ?? []) one.hidden = names().includes(one.dataset.niche);
    };
    const put = (all) => { held.value = [...new Set(all)].join(", "); show(); changed(); };
    const take = () => {
      if (!entry.value.trim()) return;
      const added = entry.value.split(",").map((name) => name.trim().toLowerCase()).filter(Boolean);
      entry.value = "";
      put([...names(), ...added]);
    };
    held.type = "hidden";
    held.removeAttribute("id");
    entry.removeAttribute("name");
    entry.value = "";
    entry.dataset.quiet = "";
    held.after(entry);
    niches.querySelector("#h-niches").textContent = "Enter or a comma takes it. None: everybody.";
    if (suggested) suggested.hidden = false;
    entry.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && entry.value.trim()) { event.preventDefault(); take(); }
      else if (event.key === "Backspace" && !entry.value) put(names().slice(0, -1));
    });
    entry.addEventListener("input", (event) => {
      const chosen = event.inputType === "insertReplacementText" || !event.inputType; // from the list
      if (entry.value.includes(",") || chosen) take();
    });
    entry.addEventListener("change", take);
    suggested?.addEventListener("click", (event) => { if (event.target.dataset.niche) put([...names(), event.target.dataset.niche]); });
    show();
  }

  // A picture, video, audio or document
  const media = form.querySelector("[data-media]");
  const part = (name) => media.querySelector(`[data-${name}]`);
  const say = (text) => { if (media) { part("trouble").textContent = text || ""; part("trouble").hidden = !text; } };
  if (!media) return;
  const field = form.elements.media;
  const drop = part("drop");
  const file = drop.querySelector("input");
  const headers = { "Fleetcast-Workspace": media.dataset.workspace };
  const size = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1000).toLocaleString("en")} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
  const arrange = () => {
    const have = !part("have").hidden;
    drop.hidden = have;
    part("address").hidden = have;
  };
  const clip = (ms) => {
    const all = Math.max(1, Math.round(ms / 1000));
    const two = (n) => String(n).padStart(2, "0");
    const [hours, minutes] = [Math.floor(all / 3600), Math.floor(all / 60) % 60];
    return hours ? `${hours}:${two(minutes)}:${two(all % 60)}` : `${minutes}:${two(all % 60)}`;
  };
  const settle = (state) => {
    busy = null;
    part("progress").hidden = true;
    part("state").textContent = state;
  };
  const hold = (told) => {
    settle("");
    field.value = told.sha256;
    part("name").textContent = told.filename;
    const seen = told.width ? [`${told.width.toLocaleString("en")} × ${told.height.toLocaleString("en")}`] : [];
    part("facts").textContent = [...seen, ...(told.duration_ms ? [clip(told.duration_ms)] : []), size(told.size)].join(", ");
    const still = told.mime.startsWith("image/");
    form.elements.body.required = !told.mime.startsWith("audio/");
    part("thumb").hidden = !still;
    if (still) part("thumb").src = media.dataset.shown.replace("/0", `/${told.sha256}`);
    part("have").hidden = false;
    arrange();
    changed();
  };
  const refuse = (text) => { settle(""); say(text); };
  const send = (address, content, kind) => {
    say("");
    busy?.abort();
    const sent = busy = new XMLHttpRequest(); // fetch cannot say how far a file is on its way
    sent.open("POST", address);
    for (const [name, value] of Object.entries({ ...headers, "Content-Type": kind })) sent.setRequestHeader(name, value);
    sent.upload.addEventListener("progress", (moved) => {
      part("progress").hidden = false;
      part("progress").value = moved.lengthComputable ? (100 * moved.loaded) / moved.total : 0;
    });
    sent.addEventListener("load", () => {
      let told = {};
      try { told = JSON.parse(sent.responseText); } catch { /* no answer of ours */ }
      if (sent.status === 201) hold(told);
      else refuse(told.errors?.[0]?.detail || told.detail || `The server answered ${sent.status}.`);
    });
    sent.addEventListener("error", () => refuse("The connection was lost. Send it again."));
    sent.send(content);
  };
  const take = (chosen) => {
    if (!chosen) return;
    // Systems have many names for the types of videos and audio: what they are is seen by the server.
    if (chosen.type && !/^(audio|video)\//.test(chosen.type) && !media.dataset.kinds.split(",").includes(chosen.type)) return refuse(`${chosen.name} is ${chosen.type}. Choose a JPEG, PNG or WebP picture, an MP4 or 3GP video, an audio or a PDF document.`);
    if (chosen.size > Number(media.dataset.largest)) return refuse(`${chosen.name} has ${size(chosen.size)}; at most ${size(Number(media.dataset.largest))} can be sent. Make it smaller.`);
    part("state").textContent = `${chosen.name} is on its way.`;
    send(`/api/v1/media?filename=${encodeURIComponent(chosen.name)}`, chosen, chosen.type || "application/octet-stream");
  };

  file.addEventListener("change", () => { take(file.files[0]); file.value = ""; });
  for (const kind of ["dragover", "drop"]) drop.addEventListener(kind, (event) => event.preventDefault());
  drop.addEventListener("drop", (event) => take(event.dataTransfer.files[0]));
  document.addEventListener("paste", (event) => {
    if (!event.clipboardData?.files.length || drop.hidden) return;
    event.preventDefault();
    take(event.clipboardData.files[0]);
  });
  field.addEventListener("change", () => {
    const address = field.value.trim();
    if (!address.toLowerCase().startsWith("https:")) return;
    part("state").textContent = "It is being fetched.";
    send("/api/v1/media/from", JSON.stringify({ url: address }), "application/json");
  });
  part("remove").addEventListener("click", () => {
    busy?.abort();
    field.value = "";
    form.elements.body.required = true;
    part("have").hidden = true;
    say("");
    settle("");
    arrange();
    changed();
    file.focus();
  });
  arrange();
})();

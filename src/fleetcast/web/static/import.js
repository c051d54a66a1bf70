/* Bringing leads: the chosen file is shown as it would be read, checked to its last row if wanted, then sent. What is
   asked is the API's own; the file leaves the browser only for the check and for the import. */
(() => {
  "use strict";
  const form = document.querySelector("[data-import]");
  if (!form) return;
  const part = (name) => form.querySelector(`[data-${name}]`);
  const headers = { "Fleetcast-Workspace": form.dataset.workspace, "Content-Type": "text/csv" };
  const FIELDS = { "": "leave out", phone: "Number", name: "Name", niche: "Niches", target_status: "Standing", journey: "Notes",
    time_zone: "Time zone", consent: "Consent" };
  const PIECE = 256 * 1024; // the beginning of a text is enough to show it; a workbook is read whole
  const SHOWN = 20; // refused rows; all of them can be downloaded after the import
  let file = null;
  let mapping = {};
  let looking = null;

  const whole = (n) => n.toLocaleString("en");
  const trouble = (text) => { part("trouble").textContent = text || ""; part("trouble").hidden = !text; };
  const cell = (text, className = "") => {
    const made = document.createElement("td");
    made.textContent = text;
    made.className = className;
    return made;
  };
  const facts = (list, pairs) => list.replaceChildren(...pairs.flatMap(([word, value]) => {
    const term = document.createElement("dt");
    const told = document.createElement("dd");
    term.textContent = word;
    told.append(value);
    return [term, told];
  }));
  const device = () => {
    const name = form.elements.of.value.trim().toLowerCase();
    const named = [...form.elements.of.list.options].find((option) => option.value.toLowerCase() === name);
    if (named) form.dataset.device = named.dataset.id;
    return named?.dataset.id ?? (name === form.dataset.name.toLowerCase() ? form.dataset.device : null);
  };
  const address = (path, more = {}) => {
    const chosen = device();
    if (!chosen) throw new Error("Choose the device that writes to these people: type its name and pick it from the list.");
    const url = new URL(`/api/v1/devices/${chosen}/lead-imports${path}`, location.origin);
    for (const [heading, field] of Object.entries(mapping)) url.searchParams.append("map", `${field || "-"}=${heading}`);
    const sheet = part("sheets").hidden ? "" : form.elements.sheet.value;
    for (const [name, value] of Object.entries({ sheet, ...more })) if (value) url.searchParams.set(name, value);
    return url;
  };
  const detail = (told, status) => told.detail || `The server answered ${status}.`;

  const choices = (heading, field) => {
    const select = document.createElement("select");
    select.className = "field";
    select.setAttribute("aria-label", `What ${heading} is`);
    for (const value of new Set([...Object.keys(FIELDS), field])) select.add(new Option(FIELDS[value] ?? `Attribute ${value}`, value, false, value === field));
    select.addEventListener("change", () => { mapping[heading] = select.value; look(); });
    return select;
  };
  const show = (found) => {
    for (const button of form.querySelectorAll("[data-found] button")) button.disabled = !found.rows.length;
    part("format").textContent = found.encoding && (found.sheet ? `sheet ${found.sheet}` : `${found.encoding}, separated by ${found.delimiter}`);
    const sheets = found.sheets ?? [];
    part("sheets").hidden = sheets.length < 2;
    if (sheets.length > 1) form.elements.sheet.replaceChildren(...[...sheets].sort().map((name) => new Option(name, name, false, name === found.sheet)));
    facts(part("columns"), Object.entries(found.columns).map(([heading, field]) => [heading, choices(heading, field)]));
    part("rows").replaceChildren(...found.rows.map(({ line, lead, problem }) => {
      const row = document.createElement("tr");
      row.append(cell(line, "r num"), cell(lead?.phone ?? "", "num nowrap"), cell(lead?.name ?? ""), cell((lead?.niches ?? []).join(", "), "hide-s"),
        cell(problem ? `${problem.column ? `${problem.column}: ` : ""}${problem.reason}` : "goes in"));
      return row;
    }));
    part("more").hidden = !found.more;
    part("found").hidden = false;
    part("checked").hidden = true;
  };
  const look = async () => {
    if (!file) return;
    trouble("");
    part("chosen").textContent = `${file.name}, ${whole(file.size)} bytes`;
    looking?.abort();
    looking = new AbortController();
    try {
      const piece = file.name.toLowerCase().endsWith(".xlsx") ? file : file.slice(0, PIECE);
      const answer = await fetch(address("/preview", { rows: 10 }), { method: "POST", headers, body: piece, signal: looking.signal });
      const told = await answer.json().catch(() => ({}));
      if (!answer.ok) throw new Error(detail(told, answer.status));
      show(piece.size < file.size ? { ...told, more: true } : told);
    } catch (error) {
      if (error.name === "AbortError") return; // another look has begun
      trouble(error.message);
      const named = /columns found: (.*)\)/.exec(error.message)?.[1].matchAll(/'([^']*)'/g) ?? [];
      const columns = Object.fromEntries([...named].map(([, heading]) => [heading, mapping[heading] ?? ""]));
      if (Object.keys(columns).length) show({ columns, rows: [], encoding: "" }); // a person says which is which
      else part("found").hidden = true;
    }
  };
  const choose = (chosen) => { file = chosen; mapping = {}; part("sheets").hidden = true; look(); };

  const send = (url, then) => { // fetch cannot say how far a file is on its way
    const sent = new XMLHttpRequest();
    const buttons = form.querySelectorAll("[data-found] button");
    const over = (text) => {
      part("progress").hidden = true;
      part("state").textContent = "";
      for (const button of buttons) button.disabled = false;
      if (text) trouble(text);
    };
    sent.open("POST", url);
    for (const [name, value] of Object.entries(headers)) sent.setRequestHeader(name, value);
    for (const button of buttons) button.disabled = true;
    sent.upload.addEventListener("progress", (moved) => {
      part("progress").hidden = false;
      if (moved.lengthComputable) part("progress").value = (100 * moved.loaded) / moved.total;
      part("state").textContent = "The file is on its way.";
    });
    sent.upload.addEventListener("load", () => { part("progress").removeAttribute("value"); part("state").textContent = "It is being read."; });
    sent.addEventListener("load", () => {
      let told = {};
      try { told = JSON.parse(sent.responseText); } catch { /* no answer of ours */ }
      if (sent.status >= 200 && sent.status < 300) { over(""); then(told); } else over(detail(told, sent.status));
    });
    sent.addEventListener("error", () => over("The connection was lost, and nothing was stored. Send the file again."));
    sent.send(file);
  };
  const consent = () => form.elements.consent.value.trim();
  const attempt = (work) => { trouble(""); try { work(); } catch (error) { trouble(error.message); } };

  part("check").addEventListener("click", () => attempt(() => send(address("/check", { consent: consent() }), ({ counts, problems }) => {
    facts(part("counts"), [["Rows", counts.rows], ["New leads", counts.added], ["Leads changed", counts.merged], ["Leads already so", counts.unchanged],
      ["Rows of one person, made one", counts.duplicates], ["Rows refused", counts.rejected]].map(([word, n]) => [word, whole(n)]));
    part("verdict").textContent = counts.rejected ? `${whole(counts.rejected)} ${counts.rejected === 1 ? "row" : "rows"} would be refused; the others go in.` : "Every row goes in.";
    part("problems").replaceChildren(...problems.slice(0, SHOWN).map(({ line, column, reason }) => {
      const row = document.createElement("tr");
      row.append(cell(line, "r num"), cell(column), cell(reason));
      return row;
    }));
    part("refused").hidden = !problems.length;
    part("first").hidden = SHOWN >= counts.rejected;
    part("checked").hidden = false;
    part("checked").scrollIntoView({ block: "nearest" });
  })));
  form.elements.file.addEventListener("change", () => choose(form.elements.file.files[0] ?? null));
  form.elements.of.addEventListener("change", look);
  form.elements.sheet.addEventListener("change", look);
  const drop = part("drop");
  for (const kind of ["dragover", "drop"]) drop.addEventListener(kind, (event) => event.preventDefault());
  drop.addEventListener("drop", (event) => choose(event.dataTransfer.files[0] ?? null));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!file) { trouble("Choose a file first."); return; }
    attempt(() => send(address("", { filename: file.name, consent: consent(), all_or_nothing: form.elements.all_or_nothing.checked ? "true" : "" }),
      (told) => { location.href = form.dataset.then.replace("/imports/0", `/imports/${told.id}`); }));
  });
})();

/* Bringing leads: the chosen file is shown as it would be read, then sent; what is asked is the API's own. */
(() => {
  "use strict";
  const form = document.querySelector("[data-import]");
  if (!form) return;
  const part = (name) => form.querySelector(`[data-${name}]`);
  const headers = { "Fleetcast-Workspace": form.dataset.workspace, "Content-Type": "text/csv" };
  const FIELDS = ["", "phone", "name", "niche", "target_status", "journey", "time_zone", "consent"];
  let file = null;
  let mapping = {};

  const trouble = (text) => { part("trouble").textContent = text || ""; part("trouble").hidden = !text; };
  const cell = (text, className = "") => {
    const made = document.createElement("td");
    made.textContent = text;
    made.className = className;
    return made;
  };
  const address = (path, more = {}) => {
    const url = new URL(`/api/v1/devices/${form.elements.device.value}/lead-imports${path}`, location.origin);
    for (const [heading, field] of Object.entries(mapping)) url.searchParams.append("map", `${field || "-"}=${heading}`);
    for (const [name, value] of Object.entries(more)) if (value) url.searchParams.set(name, value);
    return url;
  };
  const said = async (answer) => {
    const told = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(told.detail || `The server answered ${answer.status}.`);
    return told;
  };

  const choices = (heading, field) => {
    const select = document.createElement("select");
    select.className = "field";
    select.setAttribute("aria-label", `What ${heading} is`);
    for (const value of new Set([...FIELDS, field])) select.add(new Option(value || "leave out", value, false, value === field));
    select.addEventListener("change", () => { mapping[heading] = select.value; look(); });
    return select;
  };
  const show = (found) => {
    form.querySelector("[type=submit]").disabled = !found.rows.length;
    part("format").textContent = found.encoding && `${found.encoding}, ${found.sheet ? `sheet ${found.sheet}` : `separated by ${found.delimiter}`}`;
    part("columns").replaceChildren(...Object.entries(found.columns).flatMap(([heading, field]) => {
      const term = document.createElement("dt");
      const value = document.createElement("dd");
      term.textContent = heading;
      value.append(choices(heading, field));
      return [term, value];
    }));
    part("rows").replaceChildren(...found.rows.map(({ line, lead, problem }) => {
      const row = document.createElement("tr");
      row.append(cell(line, "r num"), cell(lead?.phone ?? "", "num"), cell(lead?.name ?? ""), cell((lead?.niches ?? []).join(", "), "hide-s"),
        cell(problem ? `${problem.column ? `${problem.column}: ` : ""}${problem.reason}` : "goes in"));
      return row;
    }));
    part("found").hidden = false;
  };
  const look = async () => {
    if (!file) return;
    trouble("");
    part("chosen").textContent = `${file.name}, ${file.size.toLocaleString("en")} bytes`;
    try {
      // The beginning is enough to show it; a workbook is read whole.
      const piece = file.name.toLowerCase().endsWith(".xlsx") ? file : file.slice(0, 256 * 1024);
      show(await said(await fetch(address("/preview", { rows: 10 }), { method: "POST", headers, body: piece })));
    } catch (error) {
      trouble(error.message);
      const named = /columns found: (.*)\)/.exec(error.message)?.[1].matchAll(/'([^']*)'/g) ?? [];
      const columns = Object.fromEntries([...named].map(([, heading]) => [heading, mapping[heading] ?? ""]));
      if (Object.keys(columns).length) show({ columns, rows: [], encoding: "" }); // a person says which is which
      else part("found").hidden = true;
    }
  };
  const choose = (chosen) => { file = chosen; mapping = {}; look(); };

  form.elements.file.addEventListener("change", () => choose(form.elements.file.files[0] ?? null));
  form.elements.device.addEventListener("change", look);
  const drop = part("drop");
  for (const kind of ["dragover", "drop"]) drop.addEventListener(kind, (event) => event.preventDefault());
  drop.addEventListener("drop", (event) => choose(event.dataTransfer.files[0] ?? null));

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    trouble("");
    const sent = new XMLHttpRequest(); // fetch cannot say how far a file is on its way
    sent.open("POST", address("", {
      filename: file.name,
      consent: form.elements.consent.value.trim(),
      all_or_nothing: form.elements.all_or_nothing.checked ? "true" : "",
    }));
    for (const [name, value] of Object.entries(headers)) sent.setRequestHeader(name, value);
    sent.upload.addEventListener("progress", (moved) => {
      part("progress").hidden = false;
      part("progress").value = moved.lengthComputable ? (100 * moved.loaded) / moved.total : 0;
      part("state").textContent = "The file is on its way.";
    });
    sent.addEventListener("load", () => {
      let told = {};
      try { told = JSON.parse(sent.responseText); } catch { /* no answer of ours */ }
      if (sent.status === 202) location.href = form.dataset.then.replace("/imports/0", `/imports/${told.id}`);
      else { part("progress").hidden = true; part("state").textContent = ""; trouble(told.detail || `The server answered ${sent.status}.`); }
    });
    sent.addEventListener("error", () => { part("progress").hidden = true; trouble("The connection was lost. Nothing was stored; send the file again."); });
    sent.send(file);
  });
})();

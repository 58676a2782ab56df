// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What makes the page's table: it shows the rows of one page at a time, so that fifty thousand jobs are as quick as fifty.
///
/// Whatever a job says of itself gets into the page as `textContent` and in no other way.
enum ReportScript {
    static let text = #"""

        "use strict";
        (() => {
          const $ = id => document.getElementById(id);
          const jobs = JSON.parse($("jobs").textContent);
          const [LINE, NAME, OUTCOME, DETAIL, WALL, STEPS, OUTPUT, ID, QUEUE, CPU, TEXT, IMAGE, FILE] = Array(13).keys();
          const columns = [
            { at: LINE, title: "Line", number: true }, { at: NAME, title: "Job" }, { at: OUTCOME, title: "Outcome" },
            { at: DETAIL, title: "Detail" }, { at: WALL, title: "Wall time", number: true, show: duration },
            { at: STEPS, title: "Steps", number: true, show: grouped }, { at: OUTPUT, title: "Output", number: true, show: bytes },
          ];
          const tones = new Map([...document.querySelectorAll(".outcomes .outcome")].map(e => [e.textContent, e.classList[1]]));
          const collator = new Intl.Collator("en", { numeric: true });
          const state = { text: "", outcome: "", size: 50, page: 0, column: null, descending: false, found: jobs };

          function scaled(value, units, base) {
            let unit = 0;
            while (value >= base && unit < units.length - 1) { value /= base; unit += 1; }
            return (unit === 0 || value >= 100 ? Math.floor(value) : Math.floor(value * 10) / 10) + " " + units[unit];
          }
          function duration(value) { return scaled(value, ["ns", "us", "ms", "s"], 1000); }
          function bytes(value) { return scaled(value, ["B", "KiB", "MiB", "GiB"], 1024); }
          function grouped(value) { return value.toLocaleString("en-US"); }

          function element(name, text, className) {
            const made = document.createElement(name);
            if (text !== undefined) made.textContent = text;
            if (className) made.className = className;
            return made;
          }

          const haystacks = new Map();
          function haystack(job) {
            let found = haystacks.get(job);
            if (found === undefined) {
              found = [job[NAME], job[OUTCOME], job[DETAIL], job[ID], job[IMAGE], job[TEXT]].join("\n").toLowerCase();
              haystacks.set(job, found);
            }
            return found;
          }

          function compare(a, b) {
            const [x, y] = [a[state.column], b[state.column]];
            if (x === null || y === null) return (x === null) - (y === null);
            const order = typeof x === "number" ? x - y : collator.compare(x, y);
            return state.descending ? -order : order;
          }

          function find() {
            const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
            state.found = jobs.filter(job => (!state.outcome || job[OUTCOME] === state.outcome)
              && (words.length === 0 || words.every(word => haystack(job).includes(word))));
            if (state.column !== null) state.found.sort(compare);
            state.page = 0;
            show();
          }

          function details(job) {
            const list = element("dl");
            const facts = [
              ["Job id", job[ID]], ["Image", job[IMAGE]], ["Waited", job[QUEUE] === null ? null : duration(job[QUEUE])],
              ["Processor time", job[CPU] === null ? null : duration(job[CPU])], ["Output in", job[FILE]],
            ];
            for (const [title, value] of facts) {
              if (value !== null) list.append(element("dt", title), element("dd", value));
            }
            if (job[TEXT]) {
              const shown = element("dd");
              shown.append(element("pre", job[TEXT]));
              if (job[OUTPUT] > new TextEncoder().encode(job[TEXT]).length) shown.append(element("span", "\u2026"));
              list.append(element("dt", "Output"), shown);
            }
            const row = element("tr", undefined, "details");
            const cell = element("td");
            cell.colSpan = columns.length;
            cell.append(list);
            row.append(cell);
            return row;
          }

          function nameCell(job) {
            const cell = element("td");
            const button = element("button", job[NAME] || "(no name)", "more");
            button.type = "button";
            button.setAttribute("aria-expanded", "false");
            button.addEventListener("click", () => {
              const row = button.closest("tr");
              const open = button.getAttribute("aria-expanded") === "true";
              if (open) row.nextSibling.remove(); else row.after(details(job));
              button.setAttribute("aria-expanded", String(!open));
            });
            cell.append(button);
            return cell;
          }

          function cell(job, column) {
            const value = job[column.at];
            if (column.at === NAME) return nameCell(job);
            if (column.at === OUTCOME) {
              const made = element("td");
              made.append(element("span", value, "outcome " + (tones.get(value) ?? "")));
              return made;
            }
            if (!column.number) return element("td", value, "text");
            return element("td", value === null ? "\u2013" : column.show ? column.show(value) : value, "number");
          }

          function show() {
            const count = state.found.length;
            const pages = Math.max(1, Math.ceil(count / state.size));
            const from = state.page * state.size;
            const visible = state.found.slice(from, from + state.size);
            $("rows").replaceChildren(...visible.map(job => {
              const row = element("tr");
              row.append(...columns.map(column => cell(job, column)));
              return row;
            }));
            $("status").textContent = count === jobs.length
              ? grouped(count) + (count === 1 ? " job" : " jobs") : grouped(count) + " of " + grouped(jobs.length) + " jobs";
            $("place").textContent = count === 0 ? "none"
              : grouped(from + 1) + "\u2013" + grouped(from + visible.length) + " of " + grouped(count);
            $("first").disabled = $("previous").disabled = state.page === 0;
            $("next").disabled = $("last").disabled = state.page >= pages - 1;
            $("pages").hidden = false;
          }

          function turn(page) {
            const last = Math.max(0, Math.ceil(state.found.length / state.size) - 1);
            state.page = Math.min(Math.max(0, page), last);
            show();
          }

          function sort(column, head) {
            state.descending = state.column === column.at ? !state.descending : Boolean(column.number) && column.at !== LINE;
            state.column = column.at;
            for (const other of $("heads").children) other.removeAttribute("aria-sort");
            head.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
            find();
          }

          for (const column of columns) {
            const head = element("th", undefined, column.number ? "number" : "");
            head.scope = "col";
            const button = element("button", column.title);
            button.type = "button";
            button.addEventListener("click", () => sort(column, head));
            head.append(button);
            $("heads").append(head);
          }
          for (const outcome of tones.keys()) {
            const option = element("option", outcome);
            option.value = outcome;
            $("outcome").append(option);
          }
          $("text").addEventListener("input", event => { state.text = event.target.value; find(); });
          $("outcome").addEventListener("change", event => { state.outcome = event.target.value; find(); });
          $("size").addEventListener("change", event => { state.size = Number(event.target.value); turn(0); });
          $("controls").addEventListener("submit", event => event.preventDefault());
          $("first").addEventListener("click", () => turn(0));
          $("previous").addEventListener("click", () => turn(state.page - 1));
          $("next").addEventListener("click", () => turn(state.page + 1));
          $("last").addEventListener("click", () => turn(Infinity));
          $("controls").hidden = false;
          show();
        })();

        """#
}

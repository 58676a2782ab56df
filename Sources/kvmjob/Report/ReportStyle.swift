// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The page's style sheet: the fonts and the colours of the reader's system, light or dark, and on paper black on white.
enum ReportStyle {
    static let text = """
        :root {
          color-scheme: light dark;
          --page: #fbfbfa; --card: #ffffff; --ink: #1d2126; --soft: #5b636e; --line: #dcdfe4; --bar: #3b6ea8; --hover: #f1f3f6;
          --good: #2e7d4f; --guest: #b3362b; --budget: #9a6700; --stopped: #68707c; --host: #7b4bab; --focus: #1f6feb;
        }
        @media (prefers-color-scheme: dark) {
          :root {
            --page: #14171b; --card: #1b1f24; --ink: #e6e9ed; --soft: #a0a8b4; --line: #343a43; --bar: #78aae0; --hover: #252a31;
            --good: #63c089; --guest: #f0857a; --budget: #e0b050; --stopped: #a7afba; --host: #c29cec; --focus: #6aa8ff;
          }
        }
        * { box-sizing: border-box; }
        body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
        main { max-width: 1180px; margin: 0 auto; padding: 28px 24px 48px; }
        h1 { font-size: 24px; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
        h2 { font-size: 16px; margin: 0 0 10px; }
        header p { margin: 4px 0 0; color: var(--soft); }
        header strong { color: var(--ink); }
        section, figure { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 16px 18px; margin: 18px 0 0; }
        .charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 0 18px; }
        figure svg { display: block; width: 100%; height: auto; }
        figure text { font-size: 12px; fill: var(--soft); }
        figure .bar { fill: var(--bar); }
        figure .grid, figure .tick { stroke: var(--line); }
        figcaption { color: var(--soft); font-size: 13px; margin-top: 6px; }
        table { border-collapse: collapse; width: 100%; }
        th, td { text-align: left; padding: 4px 10px; vertical-align: top; font-weight: normal; }
        thead th, thead td { color: var(--soft); font-size: 13px; border-bottom: 1px solid var(--line); white-space: nowrap; }
        tbody tr + tr > * { border-top: 1px solid var(--line); }
        .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
        .outcomes th[scope=row] { width: 1%; white-space: nowrap; }
        .outcomes .number { width: 1%; padding-left: 28px; }
        .share { vertical-align: middle; padding-left: 24px; }
        .share svg { display: block; width: 100%; height: 10px; background: var(--hover); border-radius: 2px; }
        .outcome { white-space: nowrap; }
        .outcome::before { content: ""; display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 8px; background: currentColor; }
        .outcome.good::before, rect.good { color: var(--good); fill: var(--good); }
        .outcome.guest::before, rect.guest { color: var(--guest); fill: var(--guest); }
        .outcome.budget::before, rect.budget { color: var(--budget); fill: var(--budget); }
        .outcome.stopped::before, rect.stopped { color: var(--stopped); fill: var(--stopped); }
        .outcome.host::before, rect.host { color: var(--host); fill: var(--host); }
        form { display: flex; flex-wrap: wrap; gap: 8px 18px; align-items: center; margin-bottom: 10px; }
        form[hidden], nav[hidden] { display: none; }
        label { color: var(--soft); font-size: 13px; }
        input, select, button { font: inherit; font-size: 14px; color: var(--ink); background: var(--page); border: 1px solid var(--line); border-radius: 6px; padding: 4px 9px; }
        ::placeholder { color: var(--soft); opacity: 1; }
        input { width: min(300px, 60vw); }
        button:enabled { cursor: pointer; }
        button:enabled:hover { background: var(--hover); }
        button:disabled { opacity: 0.5; }
        :focus-visible { outline: 2px solid var(--focus); outline-offset: 1px; }
        #status { margin-left: auto; color: var(--soft); font-size: 13px; }
        .wide { overflow-x: auto; }
        .jobs { font-size: 14px; }
        .jobs thead th { padding: 0; }
        .jobs thead button { width: 100%; padding: 5px 10px; border: 0; background: none; color: var(--soft); font-size: 13px; text-align: inherit; }
        .jobs thead [aria-sort] button { color: var(--ink); font-weight: 600; }
        .jobs thead [aria-sort=ascending] button::after { content: " \\2191"; }
        .jobs thead [aria-sort=descending] button::after { content: " \\2193"; }
        .jobs tbody tr:hover { background: var(--hover); }
        .text { unicode-bidi: isolate; overflow-wrap: anywhere; }
        .more { border: 0; background: none; padding: 0; color: inherit; text-align: left; overflow-wrap: anywhere; unicode-bidi: isolate; text-decoration: underline; text-decoration-color: var(--line); text-underline-offset: 3px; }
        .details td { background: var(--hover); padding: 10px 14px; }
        .details dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 16px; margin: 0; }
        .details dt { color: var(--soft); }
        .details dd { margin: 0; min-width: 0; unicode-bidi: isolate; overflow-wrap: anywhere; }
        pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.4 ui-monospace, monospace; }
        nav { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; justify-content: center; margin-top: 12px; }
        #place { color: var(--soft); font-size: 13px; min-width: 12em; text-align: center; }
        @media (max-width: 560px) {
          main { padding: 20px 12px; }
          .share, .outcomes thead td { display: none; }
          .outcomes th[scope=row] { width: auto; }
          .outcomes th[scope=row], .outcomes .outcome { white-space: normal; overflow-wrap: anywhere; }
          .outcomes .number { padding-left: 10px; }
          #status { margin-left: 0; }
        }
        @media print {
          :root { --page: #fff; --card: #fff; --ink: #000; --soft: #333; --line: #bbb; --hover: #fff; }
          body { font-size: 11px; }
          main { max-width: none; padding: 0; }
          section, figure { border: 0; padding: 0; break-inside: auto; }
          figure, tr { break-inside: avoid; }
          thead { display: table-header-group; }
          form label, nav button { display: none; }
          .share rect, .bar, .outcome::before { print-color-adjust: exact; }
        }

        """
}

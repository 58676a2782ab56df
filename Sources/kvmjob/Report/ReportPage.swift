// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation
internal import JobModel
internal import JobProtocol

/// The page around the rows: what stands before them, which needs no job, and what stands behind them, which needs all.
enum ReportPage {
    /// Up to the place of the first row.
    ///
    /// Nothing is in force on the page but ``ReportScript`` and ``ReportStyle``, by their digests, and nothing is loaded: a
    /// second lock behind the escaping.
    static func beginning(title: String) -> String {
        """
        <!DOCTYPE html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
        style-src \(digest(of: ReportStyle.text)); script-src \(digest(of: ReportScript.text))">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="color-scheme" content="light dark">
        <meta name="generator" content="kvmjob \(Release.version)">
        <title>\(HTMLText.escape(title))</title>
        <style>\(ReportStyle.text)</style>
        </head>
        <body>
        <script type="application/json" id="jobs">[

        """
    }

    /// As a content security policy names what it lets be.
    private static func digest(of text: String) -> String {
        "'sha256-\(Data(ContentDigest(hashing: Array(text.utf8)).bytes).base64EncodedString())'"
    }

    /// From behind the last row on.
    static func end(title: String, outcomes: OutcomeTally, wallTimes: Distribution, steps: Distribution) -> String {
        let time = HistogramChart(distribution: wallTimes, quantity: "wall time", label: Self.duration)
        let count = HistogramChart(distribution: steps, quantity: "steps", label: Self.count)
        return """
            ]</script>
            <main>
            <header>
            <h1>\(HTMLText.escape(title))</h1>
            <p>\(summary(outcomes))</p>
            </header>
            <section aria-labelledby="outcomes-title">
            <h2 id="outcomes-title">Outcomes</h2>
            \(table(outcomes))
            </section>
            <div class="charts">
            \(figure("Wall time", time, none: "No job has run."))
            \(figure("Steps", count, none: "No job's steps were counted: only those of jobs with a step budget or a meter are."))
            </div>
            \(jobs)
            </main>
            <script>\(ReportScript.text)</script>
            </body>
            </html>

            """
    }

    private static func summary(_ outcomes: OutcomeTally) -> String {
        let good = outcomes.rows.filter { OutcomeTally.tone(of: $0.group) == .good }.reduce(0) { $0 + $1.count }
        return """
            <strong>\(HTMLText.grouped(outcomes.total))</strong> \(outcomes.total == 1 ? "job" : "jobs"), \
            of which <strong>\(HTMLText.grouped(good))</strong> ended well
            """
    }

    private static func table(_ outcomes: OutcomeTally) -> String {
        let rows = outcomes.rows.map { group, count in
            let share = Double(count) / Double(outcomes.total)
            let tone = OutcomeTally.tone(of: group).rawValue
            return """
                <tr><th scope="row"><span class="outcome \(tone)">\(HTMLText.escape(group))</span></th>
                <td class="number">\(HTMLText.grouped(count))</td><td class="number">\(percent(share))</td>
                <td class="share"><svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">\
                <rect class="\(tone)" width="\((share * 1000).rounded() / 10)" height="1"/></svg></td></tr>

                """
        }
        return """
            <table class="outcomes">
            <thead><tr><th scope="col">Outcome</th><th scope="col" class="number">Jobs</th>
            <th scope="col" class="number">Share</th><td></td></tr></thead>
            <tbody>
            \(rows.joined())</tbody>
            </table>
            """
    }

    /// Never 0 % of what there is, nor 100 % of what is not all.
    private static func percent(_ share: Double) -> String {
        let tenths = Int((share * 1000).rounded())
        if tenths == 0 { return "&lt; 0.1 %" }
        if tenths == 1000, share < 1 { return "&gt; 99.9 %" }
        return "\(tenths / 10).\(tenths % 10) %"
    }

    private static func figure(_ title: String, _ chart: HistogramChart, none: String) -> String {
        let isEmpty = chart.distribution.count == 0
        return """
            <figure>
            <h2>\(title)</h2>
            \(chart.svg)
            <figcaption>\(HTMLText.escape(isEmpty ? none : chart.summary))</figcaption>
            </figure>
            """
    }

    /// Such as `1 ms`, for whole and round numbers of nanoseconds as well as any.
    private static func duration(_ nanoseconds: Double) -> String {
        DurationText.short(nanoseconds: UInt64(exactly: nanoseconds) ?? .max)
    }

    /// Such as `20k`, and in full where that would lose digits of a small number.
    private static func count(_ number: Double) -> String {
        let scale = [(1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")]
        guard let (factor, unit) = scale.first(where: { number >= $0.0 }) else { return "\(Int(number))" }
        let tenths = Int(number / factor * 10)
        return tenths < 1000 && tenths % 10 > 0 ? "\(tenths / 10).\(tenths % 10)\(unit)" : "\(tenths / 10)\(unit)"
    }

    /// What the script fills.
    private static let jobs = """
        <section aria-labelledby="table-title">
        <h2 id="table-title">Jobs</h2>
        <noscript><p>The list of jobs needs JavaScript; it is in the page as JSON too.</p></noscript>
        <form id="controls" role="search" hidden>
        <label>Filter <input id="text" type="search" autocomplete="off" spellcheck="false"
         placeholder="name, detail or output"></label>
        <label>Outcome <select id="outcome"><option value="">all</option></select></label>
        <label>Rows <select id="size"><option>25</option><option selected>50</option><option>100</option>\
        <option>500</option></select></label>
        <output id="status" aria-live="polite"></output>
        </form>
        <div class="wide">
        <table class="jobs" aria-labelledby="table-title"><thead><tr id="heads"></tr></thead><tbody id="rows"></tbody></table>
        </div>
        <nav id="pages" aria-label="Pages of the table" hidden>
        <button type="button" id="first">First</button> <button type="button" id="previous">Previous</button>
        <span id="place"></span>
        <button type="button" id="next">Next</button> <button type="button" id="last">Last</button>
        </nav>
        </section>
        """
}

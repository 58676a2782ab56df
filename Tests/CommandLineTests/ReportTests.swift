// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import Testing

@testable import kvmjob

@Suite struct ResultLineTests {
    private func line(_ json: String) throws -> ResultLine {
        try JSONDecoder().decode(ResultLine.self, from: Data(json.utf8))
    }

    @Test(arguments: [
        (#"{"outcome":"halted"}"#, "halted", ""),
        (#"{"outcome":"exited","code":0}"#, "exited with 0", "code 0"),
        (#"{"outcome":"exited","code":139}"#, "exited with another code", "code 139"),
        (
            ##"{"outcome":"faulted","fault":{"vector":14,"name":"#PF page fault","address":"0x10","rip":"0x7c00"}}"##,
            "faulted", "#PF page fault at rip 0x7c00, accessing 0x10"
        ),
        (
            #"{"outcome":"unemulatable","unemulatable":{"rip":null,"bytes":"0f 0b","text":null}}"#, "unemulatable",
            "0f 0b"
        ),
        (
            #"{"outcome":"wall-time-exhausted","exhausted":{"budget":"wall-time","limit":2000000000,"used":1}}"#,
            "wall-time-exhausted", "limit 2 s"
        ),
        (
            #"{"outcome":"memory-exhausted","exhausted":{"budget":"memory","limit":1048576,"used":1}}"#,
            "memory-exhausted", "limit 1 MiB"
        ),
        (#"{"outcome":"steps-exhausted","exhausted":{"budget":"steps","limit":7}}"#, "steps-exhausted", "limit 7"),
        (#"{"outcome":"cancelled","cancelled":{"by":"drain"}}"#, "cancelled", "by drain"),
        (#"{"outcome":"refused","error":{"code":"queue-full","message":"try later"}}"#, "refused", "try later"),
    ])
    func `what a job is counted under, and what is said beyond that`(json: String, group: String, detail: String) throws
    {
        let line = try line(json)
        #expect((line.group, line.detail) == (group, detail))
    }

    @Test func `a job is called by its label, else its name, else its image`() throws {
        let parts = [#""label":"l""#, #""name":"n""#, #""image":"i""#, #""job_id":"j""#, #""outcome":"halted""#]
        let titles = try parts.indices.map { try line("{\(parts[$0...].joined(separator: ","))}").title }
        #expect(titles == ["l", "n", "i", "j", ""])
    }

    @Test(arguments: [0, 1, 191, 192, 193, 4096])
    func `at most so many bytes of output are shown`(count: Int) throws {
        let output = Data(repeating: UInt8(ascii: "x"), count: count).base64EncodedString()
        let shown = try line(#"{"outcome":"halted","output_base64":"\#(output)"}"#).shownText
        #expect(shown.utf8.count == min(count, ResultLine.shownOutput))
    }

    @Test func `output that is no text, or no base64, is shown all the same`() throws {
        #expect(try line(#"{"outcome":"halted","output_base64":"/w=="}"#).shownText == "\u{FFFD}")
        #expect(try line(#"{"outcome":"halted","output_base64":"!!"}"#).shownText == "")
    }
}

@Suite struct DistributionTests {
    @Test func `a number is in the bin that begins at or below it`() {
        for number in [0, 1, 2, 4, 5, 9, 10, 19, 20, 49, 50, 99, 100, 999_999, 1_000_000, UInt64.max] {
            var distribution = Distribution()
            distribution.add(number)
            let bin = distribution.counts.firstIndex(of: 1) ?? -1
            #expect(bin == 0 || Distribution.start(of: bin) <= Double(number))
            #expect(Double(number) < Distribution.start(of: bin + 1))
            #expect(distribution.usedBins == bin...bin)
        }
    }

    @Test func `quantiles are at most a 32nd too small`() {
        var distribution = Distribution()
        let numbers = (1...10_000).map { UInt64($0) * 977 }
        for number in numbers.reversed() { distribution.add(number) }
        for percent in [1, 50, 95, 100] {
            let (exact, told) = (numbers[percent * 100 - 1], distribution.quantile(percent: percent))
            #expect(told <= exact && exact - told <= exact / 32)
        }
    }

    @Test func `one number is all quantiles, and no number none`() {
        var distribution = Distribution()
        #expect(distribution.usedBins == nil)
        for number in [UInt64.max, 0, 63, 64, 65] {
            distribution = Distribution()
            distribution.add(number)
            #expect([1, 50, 100].map { distribution.quantile(percent: $0) } == [number, number, number])
        }
    }
}

@Suite struct HistogramChartTests {
    private func chart(_ numbers: [UInt64]) -> HistogramChart {
        var distribution = Distribution()
        for number in numbers { distribution.add(number) }
        return HistogramChart(distribution: distribution, quantity: "<time>") {
            $0 < 1e9 ? "\(Int($0)) <ns>" : "many"
        }
    }

    @Test func `a bar for each bin that is not empty, each with its count`() {
        let svg = chart([1, 1, 3, 700]).svg
        #expect(svg.components(separatedBy: "<rect").count == 4)
        #expect(svg.contains("1 &lt;ns&gt; to 2 &lt;ns&gt;: 2 jobs"))
        #expect(svg.contains("500 &lt;ns&gt; to 1000 &lt;ns&gt;: 1 job<"))
    }

    @Test func `a few in a million still have a bar`() {
        let svg = chart([UInt64](repeating: 5, count: 100_000) + [100]).svg
        #expect(svg.components(separatedBy: "height=\"0.0\"").count == 1)
    }

    @Test func `labels are text, and nothing is drawn of nothing`() {
        #expect(chart([1]).svg.contains("&lt;time&gt;"))
        #expect(!chart([1]).svg.contains("<time>"))
        #expect(chart([]).svg == "")
        #expect(chart([0, UInt64.max]).svg.contains("</svg>"))
    }
}

@Suite struct HTMLReportTests {
    private static let hostile = "</script><img src=x onerror=alert(1)>&\"'<!--"

    private func page(_ lines: [String], title: String = "t") throws -> String {
        let path = FileManager.default.temporaryDirectory.appending(path: "kvmjob-\(UUID()).html").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        var report = try HTMLReport(path: path, title: title)
        for line in lines { try report.add(line: Data(line.utf8)) }
        try report.finish()
        return try String(contentsOfFile: path, encoding: .utf8)
    }

    /// The page's data, which has to be JSON.
    private func rows(of page: String) throws -> [[JSONValue]] {
        let block = try #require(
            page.components(separatedBy: #"id="jobs">"#).last?.components(separatedBy: "</script>").first)
        return try JSONDecoder().decode([[JSONValue]].self, from: Data(block.utf8))
    }

    @Test func `what jobs say of themselves cannot end the data`() throws {
        let text = String(decoding: JSONValue.string(Self.hostile).bytes, as: UTF8.self)
        let line = #"{"outcome":\#(text),"label":\#(text),"job_id":\#(text),"image":\#(text),"host_error":\#(text)}"#
        let page = try page([line], title: Self.hostile)
        #expect(page.components(separatedBy: "</script>").count == 3)
        #expect(!page.contains("<img") && !page.contains("<!--"))
        #expect(try rows(of: page)[0][1].string == Self.hostile)
        #expect(page.contains("<title>&lt;/script&gt;&lt;img"))
    }

    @Test func `each job is a row, and counted`() throws {
        let lines = ["halted", "halted", "faulted"].map { #"{"outcome":"\#($0)","wall_ns":1000,"steps":{"used":7}}"# }
        let page = try page(lines)
        #expect(try rows(of: page).count == 3)
        #expect(page.contains("<strong>3</strong> jobs, of which <strong>2</strong> ended well"))
        #expect(page.contains(#"<td class="number">2</td><td class="number">66.7 %</td>"#))
    }

    @Test func `a page of no jobs is a page`() throws {
        let page = try page([])
        #expect(try rows(of: page).isEmpty)
        #expect(page.contains("No job has run.") && page.hasSuffix("</html>\n"))
    }

    @Test func `only the page's own script may run`() throws {
        let page = try page([])
        let script = try #require(
            page.components(separatedBy: "<script>").last?.components(separatedBy: "</script>").first)
        #expect(script == ReportScript.text)
        #expect(page.contains("default-src 'none'; style-src 'sha256-") && page.contains("; script-src 'sha256-"))
        #expect(!ReportScript.text.contains("innerHTML") && !ReportScript.text.contains("</script"))
    }

    @Test func `a line that is no result is told, and the page goes on without it`() throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "kvmjob-\(UUID()).html").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        var report = try HTMLReport(path: path, title: "t")
        for wrong in ["", "{}", "[]", "nonsense", #"{"outcome":7}"#] {
            #expect { try report.add(line: Data(wrong.utf8)) } throws: { error in
                (error as? CommandFailure)?.status == ExitStatus.cannotRun
            }
        }
        try report.add(line: Data(#"{"outcome":"halted"}"#.utf8))
        try report.finish()
        #expect(try rows(of: String(contentsOfFile: path, encoding: .utf8)).count == 1)
    }

    @Test func `a page that is there stays until the new one is whole`() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "kvmjob-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "r.html").path
        try Data("old".utf8).write(to: URL(fileURLWithPath: path))
        var report = try HTMLReport(path: path, title: "t")
        #expect(try String(contentsOfFile: path, encoding: .utf8) == "old")
        report.discard()
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["r.html"])
        report = try HTMLReport(path: path, title: "t")
        try report.finish()
        #expect(try String(contentsOfFile: path, encoding: .utf8).hasPrefix("<!DOCTYPE html>"))
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["r.html"])
    }

    @Test func `a page where there can be none is refused at the beginning`() {
        #expect(throws: CommandFailure.self) { try HTMLReport(path: "/nowhere/r.html", title: "t") }
        #expect(throws: CommandFailure.self) { try HTMLReport(path: "/tmp", title: "t") }
    }
}

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import kvmjob

@Suite struct LinePrefixerTests {
    @Test func `each line gets the prefix, however its bytes arrive`() {
        let text = Array("one\n\ntwo\r\nrest".utf8)
        for size in 1...text.count {
            var prefixer = LinePrefixer(name: "job#2")
            var output: [UInt8] = []
            for start in stride(from: 0, to: text.count, by: size) {
                output += prefixer.feed(text[start..<min(start + size, text.count)])
            }
            output += prefixer.finish()
            #expect(String(decoding: output, as: UTF8.self) == "job#2: one\njob#2: \njob#2: two\r\njob#2: rest\n")
        }
    }

    @Test func `output that ends with a newline gets no further line`() {
        var prefixer = LinePrefixer(name: "a")
        #expect(prefixer.feed([0xFF, 0x00, 0x0A]) == Array("a: ".utf8) + [0xFF, 0x00, 0x0A])
        #expect(prefixer.finish().isEmpty)
    }

    @Test func `a line without end is broken at the limit`() {
        var prefixer = LinePrefixer(name: "a")
        #expect(prefixer.feed(repeatElement(120, count: LinePrefixer.lineLimit - 1)).isEmpty)
        #expect(prefixer.feed([120]).count == LinePrefixer.lineLimit + 4)
        #expect(prefixer.finish().isEmpty)
    }
}

@Suite struct PortWriteTests {
    @Test func `records are put together wherever they were cut`() {
        let writes = [PortWrite(port: 0x80, size: 1, value: 0x12), PortWrite(port: 0xCF8, size: 4, value: 0x8000_0000)]
        let bytes = writes.flatMap(\.record)
        for cut in 0...bytes.count {
            var decoder = PortWriteDecoder()
            #expect(decoder.feed(bytes[..<cut]) + decoder.feed(bytes[cut...]) == writes)
        }
    }

    @Test func `a write is told with port, value and width`() {
        #expect(PortWrite(port: 0x80, size: 1, value: 0x12).text == "port 0x80 <- 0x12 (1 byte)")
        #expect(PortWrite(port: 0xCF8, size: 4, value: 1).text == "port 0xcf8 <- 0x1 (4 bytes)")
    }
}

@Suite struct BoundedListTests {
    @Test func `what is over the limit is dropped, and that is known`() {
        var list = BoundedList<UInt8>(limit: 4)
        list.append([1, 2, 3, 4])
        #expect(!list.isTruncated)
        list.append([])
        #expect(!list.isTruncated)
        list.append([5])
        #expect(list.isTruncated && list.elements == [1, 2, 3, 4])
    }

    @Test func `a report holds at most its output limit`() {
        var report = JobReport(image: "a", name: "a", end: .lost(""))
        report.output.append([UInt8](repeating: 7, count: JobReport.outputLimit + 1))
        #expect(report.output.elements.count == 64 << 20 && report.output.isTruncated)
        report.portWrites.append([PortWrite](repeating: PortWrite(port: 0, size: 1, value: 0), count: 65_537))
        #expect(report.portWrites.elements.count == 65_536 && report.portWrites.isTruncated)
    }
}

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import SeededRandom
import Testing

@testable import kvmjob

@Suite struct JSONLineParserTests {
    private func parse(_ text: String) throws -> JSONNode { try JSONLineParser.parse(Array(text.utf8)) }

    @Test func `values come with their places`() throws {
        let node = try parse(#" {"a": [1, "é\n\ud83d\ude42"], "b": {"c": -1.5e3, "d": true}} "#)
        #expect(node.offset == 1)
        guard case .object(let members) = node.value, case .array(let list)? = node["a"]?.value else {
            Issue.record("not what was written")
            return
        }
        #expect(members.map(\.key) == ["a", "b"] && members.map(\.offset) == [2, 32])
        #expect(list[0] == JSONNode(value: .number(1), offset: 8) && list[1].string == "é\n🙂")
        #expect(node["b"]?["c"]?.value == .otherNumber("-1.5e3") && node["b"]?["d"]?.value == .bool(true))
    }

    @Test func `numbers beyond 64 bits are no whole numbers`() throws {
        #expect(try parse("18446744073709551615").value == .number(.max))
        #expect(try parse("18446744073709551616").value == .otherNumber("18446744073709551616"))
        #expect(try parse("-0").value == .otherNumber("-0"))
    }

    @Test(arguments: [
        ("", 0), ("{", 1), ("{\"a\"}", 4), ("{\"a\":1,}", 7), ("[1 2]", 3), ("\"a", 0), ("tru", 0), ("01", 0),
        ("1 1", 2), ("{\"a\":1,\"a\":2}", 7), (#""\q""#, 1), (#""\ud800""#, 1), (#""\ud800\u0041""#, 1), ("1.", 2),
        ("-", 1),
        ("\"\t\"", 1), ("{a:1}", 1), ("'a'", 0), ("0x10", 1), (#""\u12g4""#, 1),
    ])
    func `what is wrong is told with its place`(text: String, offset: Int) {
        let problem = #expect(throws: JSONProblem.self) { try parse(text) }
        #expect(problem?.offset == offset && problem?.message.isEmpty == false)
    }

    @Test func `objects and lists have a limit of depth`() throws {
        let most = JSONLineParser.depthLimit
        _ = try parse(String(repeating: "[", count: most) + String(repeating: "]", count: most))
        let problem = #expect(throws: JSONProblem.self) {
            try parse(String(repeating: "[", count: most + 1) + String(repeating: "]", count: most + 1))
        }
        #expect(problem?.offset == most)
    }

    @Test func `bytes that are no UTF-8 are refused`() {
        #expect(throws: JSONProblem.self) { try JSONLineParser.parse([0x22, 0xFF, 0x22]) }
        #expect(throws: JSONProblem.self) { try JSONLineParser.parse([0x22, 0xED, 0xA0, 0x80, 0x22]) }
    }

    /// Python's and Foundation's readers agree on what JSON is but for a few things, of which these mutations bring none about.
    @Test func `what Foundation reads is read, and what it refuses is refused`() throws {
        let seed = Array(
            #"{"image":"a/b.bin","set":{"ax":2,"bx":"0x10"},"steps":1000,"l":[true,null,"\u00e9\\"],"n":-2.5}"#.utf8)
        let letters = Array("{}[]\",:\\u0019aetrn \n-.".utf8)
        var random = SplitMix64(state: 7)
        var (read, refused) = (0, 0)
        for _ in 0..<4000 {
            var text = seed
            for _ in 0...Int(random.next() % 3) {
                let place = Int(random.next() % UInt64(text.count))
                switch random.next() % 3 {
                case 0: text[place] = letters[Int(random.next() % UInt64(letters.count))]
                case 1: text.remove(at: place)
                default: text.insert(letters[Int(random.next() % UInt64(letters.count))], at: place)
                }
            }
            let theirs = try? JSONSerialization.jsonObject(with: Data(text), options: .fragmentsAllowed)
            let ours = try? JSONLineParser.parse(text)
            if ours != nil { read += 1 } else { refused += 1 }
            guard (ours == nil) != (theirs == nil) else { continue }
            let problem = #expect(throws: JSONProblem.self) { try JSONLineParser.parse(text) }
            // Stricter in two things alone: keys that are there twice, and a comma behind the last member.
            let before = text.prefix(problem?.offset ?? 0).last
            let isStricter = problem?.message.contains("twice") == true || before == UInt8(ascii: ",")
            #expect(isStricter, "\(String(decoding: text, as: UTF8.self))")
        }
        #expect(read > 100 && refused > 1000)
    }
}

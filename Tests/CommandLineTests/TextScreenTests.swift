// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import kvmjob

@Suite struct TextScreenTests {
    /// A page with these characters, from its first cell on.
    private static func page(_ characters: [UInt8]) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 4000)
        for (index, character) in characters.enumerated() { (bytes[index * 2], bytes[index * 2 + 1]) = (character, 7) }
        return bytes
    }

    @Test func `lines are told without the blanks at their ends, and colours not at all`() {
        let screen = TextScreen(Self.page(Array("  Hi  ".utf8) + [UInt8](repeating: 0x20, count: 74) + [0x41]))
        #expect(screen.lines == ["  Hi", "A"] + Array(repeating: "", count: 23))
    }

    @Test func `every byte has its character of code page 437`() {
        let screen = TextScreen(Self.page(Array(UInt8.min...UInt8.max)))
        #expect(screen.lines[0].hasPrefix(" ☺☻♥"))
        let text = screen.lines.joined().unicodeScalars
        for scalar in "☼⌂Çñ░█αß≡".unicodeScalars { #expect(text.contains(scalar)) }
    }

    @Test func `a frame shows the lines that have something, each 80 characters wide`() {
        #expect(TextScreen([]).text.count == 3)
        let text = TextScreen(Self.page([0xC9, 0xCD])).text
        #expect(text.count == 4)
        #expect(text[2] == "|╔═" + String(repeating: " ", count: 78) + "|")
    }

    @Test func `a page that is cut short is blank from there on`() {
        #expect(TextScreen([0x41]).lines == ["A"] + Array(repeating: "", count: 24))
    }

    @Test func `a board goes into the job`() throws {
        func spec(_ arguments: String...) throws -> JobSpec {
            try SubmitCommand.parse(["a"] + arguments).submission(console: .standard).spec
        }
        #expect(try spec().board == .bare && !spec().isROM)
        #expect(try spec("--board", "pc").board == .pc)
    }
}

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// The text page of a PC's display, as a guest has left it in memory: 25 lines of 80 cells, each a character of code page 437 and a byte of
/// colours.
///
/// There is no display: where the page begins no register says, and what firmware would write there it writes only with a display. Source:
/// the IBM PC's technical reference, "Color/Graphics Monitor Adapter".
struct TextScreen: Sendable, Hashable {
    private static let (columns, rows, cellBytes) = (80, 25, 2)

    /// Where it is in guest memory.
    static let window = MemoryRange(address: 0xB8000, count: UInt64(columns * rows * cellBytes))

    /// The lines from the top, without the blanks at their ends.
    let lines: [String]

    /// - Parameter bytes: the window's; what is missing is blank.
    init(_ bytes: [UInt8]) {
        lines = (0..<Self.rows).map { row in
            let cells = bytes.dropFirst(row * Self.columns * Self.cellBytes).prefix(Self.columns * Self.cellBytes)
            let characters = cells.enumerated().filter { $0.offset % Self.cellBytes == 0 }.map(\.element)
            let text = String(String.UnicodeScalarView(characters.map { Self.codePage437[Int($0)] }))
            return String(text.reversed().drop { $0 == " " }.reversed())
        }
    }

    /// For people: the lines down to the last one that is not blank, in a frame.
    var text: [String] {
        let shown = lines.prefix((lines.lastIndex { !$0.isEmpty } ?? -1) + 1)
        let edge = "+" + String(repeating: "-", count: Self.columns) + "+"
        let rows = shown.map { "|" + $0 + String(repeating: " ", count: Self.columns - $0.unicodeScalars.count) + "|" }
        return ["screen:", edge] + rows + [edge]
    }

    /// By number. A cell of zeros is as blank as a space.
    private static let codePage437: [Unicode.Scalar] = {
        let low = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
        let ascii = String(String.UnicodeScalarView((0x20...0x7E).map { Unicode.Scalar(UInt8($0)) })) + "⌂"
        let letters = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»"
        let boxes = "░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀"
        let signs = "αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{A0}"
        return Array((low + ascii + letters + boxes + signs).unicodeScalars)
    }()
}

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Figures where there is little room, and text that somebody else wrote.
enum ShortText {
    /// At most six characters: `99999`, `123 k`, `1.2 M`.
    static func count(_ number: UInt64) -> String {
        let scale: [(factor: UInt64, unit: String)] = [
            (1_000_000_000_000_000_000, "E"), (1_000_000_000_000_000, "P"), (1_000_000_000_000, "T"),
            (1_000_000_000, "G"), (1_000_000, "M"), (1000, "k"),
        ]
        guard number >= 100_000, let (factor, unit) = scale.first(where: { number >= $0.factor }) else {
            return String(number)
        }
        return "\(oneDecimal(number, factor)) \(unit)"
    }

    /// A part of a whole with one decimal below 100 where it is not zero: `63.3`, `64`, `640`. Rounded to the nearest.
    static func oneDecimal(_ number: UInt64, _ factor: UInt64) -> String {
        let (whole, rest) = number.quotientAndRemainder(dividingBy: factor)
        if whole >= 100 { return String(whole + (rest >= factor - factor / 2 ? 1 : 0)) }
        let tenths = (rest / max(1, factor / 1000) + 50) / 100
        let sum = whole * 10 + min(tenths, 10)
        return sum.isMultiple(of: 10) ? String(sum / 10) : "\(sum / 10).\(sum % 10)"
    }

    /// Text of a worker's or of a user's on one line of a terminal: what could move the cursor or change colours is shown as `?`, and
    /// what has no room is left out.
    static func plain(_ text: String, width: Int = .max) -> String {
        var line = ""
        var room = width
        for scalar in text.unicodeScalars where room > 0 {
            let isShown = scalar.properties.generalCategory.isVisible || scalar == " "
            line.unicodeScalars.append(isShown ? scalar : "?")
            room -= 1
        }
        return line
    }

    /// A name with a plus sign where it goes on, as ps(1) has it.
    static func name(_ text: String, width: Int) -> String {
        let line = plain(text)
        return line.count <= width ? line : line.prefix(width - 1) + "+"
    }
}

extension Unicode.GeneralCategory {
    fileprivate var isVisible: Bool {
        switch self {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator,
            .spaceSeparator:
            false
        default: true
        }
    }
}

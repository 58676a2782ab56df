// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

extension String {
    /// At most this many bytes of UTF-8, cut before the character that does not fit.
    func cut(toUTF8 bytes: Int) -> String {
        guard utf8.count > bytes else { return self }
        var end = utf8.index(utf8.startIndex, offsetBy: bytes)
        while end.samePosition(in: unicodeScalars) == nil, end > utf8.startIndex { end = utf8.index(before: end) }
        return String(self[..<end])
    }

    /// With every control character as a space, for protocols of one line.
    var onOneLine: String {
        var line = ""
        line.unicodeScalars.append(contentsOf: unicodeScalars.lazy.map { $0.isControl ? " " : $0 })
        return line
    }
}

extension Unicode.Scalar {
    /// Whether it would move a terminal's cursor or start a new line: C0, DEL, C1 and the two Unicode line ends.
    var isControl: Bool {
        switch value {
        case 0..<0x20, 0x7F..<0xA0, 0x2028, 0x2029: true
        default: false
        }
    }
}

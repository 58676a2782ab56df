// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

extension AddressSpace {
    /// The lines of `/proc/self/maps`.
    var memoryMap: [UInt8] {
        var text: [UInt8] = []
        for region in (0..<regions.count).lazy.map({ regions[$0] }) { region.appendLine(to: &text) }
        return text
    }
}

extension Region {
    /// Where the name begins in a line.
    private static let nameColumn = 73

    fileprivate func appendLine(to text: inout [UInt8]) {
        let start = text.count
        appendHexadecimal(self.start, to: &text)
        text.append(UInt8(ascii: "-"))
        appendHexadecimal(end, to: &text)
        text += " \(rights) ".utf8
        if case .file(_, let offset) = content {
            appendHexadecimal(offset, to: &text)
            text += " 00:01 0 ".utf8
        } else {
            text += "00000000 00:00 0 ".utf8
        }
        let name = self.name
        if !name.isEmpty {
            let padding = Self.nameColumn - (text.count - start)
            text += [UInt8](repeating: UInt8(ascii: " "), count: max(padding, 0))
            text += name
        }
        text.append(UInt8(ascii: "\n"))
    }

    private var rights: String {
        (protection.contains(.read) ? "r" : "-") + (protection.contains(.write) ? "w" : "-")
            + (protection.contains(.execute) ? "x" : "-") + (traits.contains(.shared) ? "s" : "p")
    }

    private var name: [UInt8] {
        if let file { return file.name }
        if traits.contains(.heap) { return Array("[heap]".utf8) }
        return traits.contains(.stack) ? Array("[stack]".utf8) : []
    }

    private func appendHexadecimal(_ value: UInt64, to text: inout [UInt8]) {
        let digits = String(value, radix: 16).utf8
        text += [UInt8](repeating: UInt8(ascii: "0"), count: max(8 - digits.count, 0))
        text += digits
    }
}

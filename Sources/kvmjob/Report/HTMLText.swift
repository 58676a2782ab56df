// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Text of whatever origin, made inert.
enum HTMLText {
    /// As content of an element, or between quotes as an attribute's value.
    static func escape(_ text: String) -> String {
        var escaped = ""
        for character in text.unicodeScalars {
            switch character {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            case "\"": escaped += "&quot;"
            case "'": escaped += "&#39;"
            default: escaped.unicodeScalars.append(character)
            }
        }
        return escaped
    }

    /// JSON as content of a `script` element, which nothing but `</script` or `<!--` can end. In JSON these bytes can stand in strings only.
    static func escape(json: [UInt8]) -> [UInt8] {
        var escaped: [UInt8] = []
        escaped.reserveCapacity(json.count)
        for byte in json {
            switch byte {
            case UInt8(ascii: "<"): escaped += #"\u003c"#.utf8
            case UInt8(ascii: ">"): escaped += #"\u003e"#.utf8
            case UInt8(ascii: "&"): escaped += #"\u0026"#.utf8
            default: escaped.append(byte)
            }
        }
        return escaped
    }

    /// A number with its digits in groups of three: `12,345`.
    static func grouped(_ number: Int) -> String {
        let digits = Array(String(number))
        return digits.indices.map { index in
            (index > 0 && (digits.count - index) % 3 == 0 ? "," : "") + String(digits[index])
        }.joined()
    }
}

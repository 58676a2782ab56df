// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

extension String {
    /// Bytes that anybody may have written, as text that does nothing to a terminal: what is no visible character of Unicode becomes
    /// U+FFFD, and so do marks, which pile up on others.
    package init(printable bytes: some Collection<UInt8>) {
        var text = String.UnicodeScalarView()
        for scalar in String(decoding: bytes, as: UTF8.self).unicodeScalars {
            text.append(scalar.isVisible ? scalar : "\u{FFFD}")
        }
        self.init(text)
    }
}

extension Unicode.Scalar {
    fileprivate var isVisible: Bool {
        switch properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator,
            .spaceSeparator,
            .nonspacingMark, .spacingMark, .enclosingMark:
            false
        default: true
        }
    }
}

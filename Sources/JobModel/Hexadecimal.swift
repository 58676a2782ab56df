// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

extension UInt64 {
    /// As people write addresses: `0x7c00`.
    public var hexadecimal: String { "0x" + String(self, radix: 16) }
}

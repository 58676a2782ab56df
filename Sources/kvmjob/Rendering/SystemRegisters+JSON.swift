// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

extension Segment {
    /// `base`, `limit`, `selector`, `attributes`, all hexadecimal.
    var json: JSONValue {
        .object([
            ("base", .hex(base)), ("limit", .hex(limit)), ("selector", .hex(selector)),
            ("attributes", .hex(attributes.rawValue)),
        ])
    }
}

extension DescriptorTable {
    /// `base`, `limit`, both hexadecimal.
    var json: JSONValue { .object([("base", .hex(base)), ("limit", .hex(limit))]) }
}

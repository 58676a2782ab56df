// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation

/// Reads the JSON that kvmjob writes: whole numbers from 0 to 2^64-1 are all the numbers there are in it. Objects come with
/// their keys sorted.
extension JSONValue: Decodable {
    init(from decoder: any Decoder) throws {
        if let object = try? decoder.container(keyedBy: JSONKey.self) {
            let keys = object.allKeys.map(\.stringValue).sorted()
            self = .object(
                try keys.map { ($0, try object.decode(JSONValue.self, forKey: JSONKey(stringValue: $0))) })
        } else if var array = try? decoder.unkeyedContainer() {
            var elements: [JSONValue] = []
            while !array.isAtEnd { elements.append(try array.decode(JSONValue.self)) }
            self = .array(elements)
        } else {
            self = try Self.scalar(decoder.singleValueContainer())
        }
    }

    private static func scalar(_ container: any SingleValueDecodingContainer) throws -> JSONValue {
        if container.decodeNil() { return .null }
        if let value = try? container.decode(Bool.self) { return .bool(value) }
        if let value = try? container.decode(String.self) { return .string(value) }
        do {
            return .number(try container.decode(UInt64.self))
        } catch {
            throw DecodingError.dataCorruptedError(
                in: container, debugDescription: "a number here is a whole one from 0 to 2^64-1")
        }
    }

    /// A member of an object; nil where there is none, and of everything that is no object.
    subscript(key: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.key == key }?.value
    }

    /// The text of a string.
    var string: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }
}

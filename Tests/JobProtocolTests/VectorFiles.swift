// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import Testing

@testable import JobProtocol

/// A JSON value, as the vectors have it.
enum JSON: Decodable, Hashable, Sendable {
    case null
    case bool(Bool)
    case number(UInt64)
    case string(String)
    case array([JSON])
    case object([String: JSON])

    init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if value.decodeNil() {
            self = .null
        } else if let bool = try? value.decode(Bool.self) {
            self = .bool(bool)
        } else if let number = try? value.decode(UInt64.self) {
            self = .number(number)
        } else if let string = try? value.decode(String.self) {
            self = .string(string)
        } else if let array = try? value.decode([JSON].self) {
            self = .array(array)
        } else {
            self = .object(try value.decode([String: JSON].self))
        }
    }
}

/// One entry of `frames.json` or `bad.json`.
struct FrameVector: Decodable, Sendable, CustomTestStringConvertible {
    enum Level: String, Decodable { case header, payload, connection }

    var name: String
    var hex: String
    var canonical: String?
    var decoded: JSON?
    var level: Level?
    var to: String?
    var frameLimit: UInt32?
    var afterHello: Bool?
    var error: String?
    var job: UInt32?
    var fieldTag: UInt16?

    var testDescription: String { name }
}

/// One entry of `records.json`: a stream of channel 4 or 5.
struct RecordVector: Decodable, Sendable, CustomTestStringConvertible {
    enum End: String, Decodable { case whole, cut, broken }

    var name: String
    var channel: UInt8
    var hex: String
    var canonical: String?
    var records: [JSON]
    var end: End

    var testDescription: String { name }
}

/// One file of `transcripts`.
struct Transcript: Decodable, Sendable, CustomTestStringConvertible {
    struct Step: Decodable, Sendable {
        enum Sender: String, Decodable { case worker, client }

        var from: Sender
        var hex: String
    }

    enum Expectation: Decodable, Sendable {
        case ok
        case error(String, atStep: Int)

        private enum Key: String, CodingKey { case error, atStep }

        init(from decoder: any Decoder) throws {
            if let word = try? decoder.singleValueContainer().decode(String.self), word == "ok" {
                self = .ok
                return
            }
            let object = try decoder.container(keyedBy: Key.self)
            self = .error(
                try object.decode(String.self, forKey: .error), atStep: try object.decode(Int.self, forKey: .atStep))
        }
    }

    var name: String
    var expect: Expectation
    var steps: [Step]

    var testDescription: String { name }
}

/// The vectors beside the specification.
enum Vectors {
    static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "protocol/vectors")

    static let frames: [FrameVector] = read("frames.json")
    static let bad: [FrameVector] = read("bad.json")
    static let records: [RecordVector] = read("records.json")
    static let transcripts: [Transcript] = {
        let names =
            (try? FileManager.default.contentsOfDirectory(atPath: folder.appending(path: "transcripts").path)) ?? []
        return names.sorted().filter { $0.hasSuffix(".json") }.map { read("transcripts/\($0)") }
    }()

    private static func read<T: Decodable>(_ name: String) -> T {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .useDefaultKeys
        do {
            let bytes = try Data(contentsOf: folder.appending(path: name))
            decoder.keyDecodingStrategy = .custom { path in
                guard let last = path.last else { return Name("") }
                // Only the entries' own keys are Swift names; what is inside these keeps the specification's.
                let isInside = path.dropLast().contains { ["decoded", "records"].contains($0.stringValue) }
                return isInside ? last : Name(camel(last.stringValue))
            }
            return try decoder.decode(T.self, from: bytes)
        } catch {
            fatalError("\(name): \(error)")
        }
    }

    private static func camel(_ words: String) -> String {
        let parts = words.split(separator: "_")
        return parts.dropFirst().reduce(String(parts.first ?? "")) { $0 + $1.capitalized }
    }

    private struct Name: CodingKey {
        var stringValue: String
        var intValue: Int? { nil }

        init(_ name: String) { stringValue = name }
        init?(stringValue: String) { self.init(stringValue) }
        init?(intValue: Int) { nil }
    }
}

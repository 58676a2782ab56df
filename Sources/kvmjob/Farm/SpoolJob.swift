// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation
internal import JobModel
internal import JobProtocol

/// One job as a chunk of a spool has it: one JSON object on one line.
///
/// | key | value |
/// |---|---|
/// | `line` | the line of the manifest that the job is |
/// | `job_id` | its stable id |
/// | `label` | its label in the manifest, or null |
/// | `image` | the image's name, for the report |
/// | `submit_base64` | the payload of the SUBMIT frame that a client would send (PROTOCOL.md, 3.4) |
/// | `objects` | the image, or the program's layers, the lowest first: names in `objects/` |
/// | `input` | the input, likewise, or null |
/// | `own_wall_time` | whether the manifest says how long the job may take |
struct SpoolJob: Codable, Sendable, Hashable {
    var line: Int
    var jobID: String
    var label: String?
    var image: String
    /// ``Submit/stored``.
    var submit: Data
    /// SHA-256 of each in hexadecimal.
    var objects: [String]
    var input: String?
    var hasOwnWallTime = true

    enum CodingKeys: String, CodingKey {
        case line, label, image, objects, input
        case jobID = "job_id"
        case submit = "submit_base64"
        case hasOwnWallTime = "own_wall_time"
    }

    /// The longest id: 64 characters.
    static let idLimit = 64

    /// Whether a text can be a job's id, and so the name of its result's file: letters, digits and hyphens, none of them first.
    static func isID(_ text: String) -> Bool {
        (1...idLimit).contains(text.utf8.count) && !text.hasPrefix("-")
            && text.utf8.allSatisfy { byte in
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                    || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20) || byte == UInt8(ascii: "-")
            }
    }

    /// Whether a text can be an object's name: 64 small hexadecimal digits.
    static func isObject(_ text: String) -> Bool {
        text.utf8.count == 2 * ContentDigest.byteCount
            && text.utf8.allSatisfy { byte in
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                    || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
            }
    }

    /// The job that a line describes.
    ///
    /// - Throws: ``ValueError``, whose text does not say where.
    init(line text: [UInt8]) throws(ValueError) {
        do {
            self = try JSONDecoder().decode(SpoolJob.self, from: Data(text))
        } catch {
            throw ValueError("is no job: \(Self.reason(error))")
        }
        guard Self.isID(jobID) else {
            throw ValueError("has a job_id that is none: 1 to \(Self.idLimit) letters, digits and hyphens")
        }
        guard (objects + [input].compactMap(\.self)).allSatisfy(Self.isObject) else {
            throw ValueError("names an object by something else than 64 hexadecimal digits")
        }
        guard objects.count <= ProgramSpec.layerLimit else {
            throw ValueError("has \(objects.count) objects, more than \(ProgramSpec.layerLimit)")
        }
    }

    /// - Parameter objects: the names under which the job's bytes are kept; of its input likewise.
    init(_ job: BatchJob, objects: [String], input: String?) {
        (line, jobID, label, image) = (job.line, job.id, job.label, job.image)
        (submit, hasOwnWallTime) = (Data(Submit(job.spec, source: job.source).payload), job.hasOwnWallTime)
        (self.objects, self.input) = (objects, input)
    }

    /// What it asks for.
    ///
    /// - Throws: ``ValueError``, whose text does not say where.
    func spec() throws(ValueError) -> JobSpec {
        let spec: JobSpec
        do {
            spec = try Submit.spec(payload: Array(submit))
        } catch {
            throw ValueError("has a submission that is none: \(error.message)")
        }
        guard spec.program != nil || objects.count == 1 else { throw ValueError("has \(objects.count) images, not 1") }
        return spec
    }

    private static func reason(_ error: any Error) -> String {
        guard let error = error as? DecodingError else { return SystemReason(error).text }
        return switch error {
        case .keyNotFound(let key, _): "it has no \(key.stringValue)"
        case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
            (context.codingPath.last.map { "\($0.stringValue): " } ?? "") + context.debugDescription
        @unknown default: error.localizedDescription
        }
    }
}

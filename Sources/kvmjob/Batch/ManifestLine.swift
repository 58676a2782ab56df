// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import Foundation
internal import JobModel

/// A line of a manifest that means a job, with all that it says. Its files are not read yet.
struct ManifestLine: Sendable {
    /// What runs.
    enum Work: Sendable {
        /// With the pieces of memory beside it, and what is said of its start.
        case image(ImageSource, [MemoryPiece], ImageStart)
        case program(ProgramRequest, ProgramLimits)

        fileprivate var name: String {
            switch self {
            case .image(let source, _, _): source.text
            case .program(let request, _): request.program
            }
        }
    }

    /// The first of the file is 1.
    let number: Int
    let label: String?
    /// What runs, as the line has it: a path, the digits of `hex`, a snapshot's name, or a program's.
    let image: String
    let work: Work
    let input: ManifestInput
    /// Complete for an image but for its place, which its bytes can decide; of a program only once its files are known.
    let spec: JobSpec

    /// - Parameter draft: a fresh one of the manifest's folder.
    init(
        _ bytes: [UInt8], number: Int, draft: ManifestDraft, folder: String
    ) throws(FieldProblem) {
        let node: JSONNode
        do { node = try JSONLineParser.parse(bytes) } catch {
            throw FieldProblem(error.message, offset: error.offset)
        }
        guard case .object(let members) = node.value else {
            throw FieldProblem(
                "it is \(node.kind): write an object, {\"image\": \"boot.bin\"} say", offset: node.offset)
        }
        var draft = draft
        let fields = try Self.fields(members)
        for (field, value) in fields { try draft.set(field, to: value) }
        let kind = try Self.kind(fields)
        (self.number, label, input) = (number, draft.label, draft.input)
        switch kind {
        case .image: (work, spec) = try Self.image(draft)
        case .program: (work, spec) = try Self.program(draft, folder)
        }
        image = draft.imageName ?? work.name
    }

    private static func fields(
        _ members: [JSONNode.Member]
    ) throws(FieldProblem) -> [(ManifestField, FieldValue)] {
        var fields: [(ManifestField, FieldValue)] = []
        for member in members {
            guard let field = ManifestField(rawValue: member.key) else {
                throw FieldProblem(unknown(member.key), field: member.key, offset: member.offset)
            }
            fields.append((field, FieldValue(field: field, node: member.value)))
        }
        return fields
    }

    private static func unknown(_ name: String) -> String {
        let option = name.replacing("_", with: "-")
        if let reason = ManifestField.leftOut[option] { return "this is no field of a manifest: \(reason)" }
        let similar = ManifestField.allCases.first { $0.rawValue == name.lowercased().replacing("-", with: "_") }
        if let similar { return "there is no such field: write \"\(similar.rawValue)\"" }
        return "there is no such field: write one of " + ManifestField.allCases.map(\.rawValue).joined(separator: ", ")
    }

    /// What kind of job this is, if all fields go with it.
    private static func kind(_ fields: [(ManifestField, FieldValue)]) throws(FieldProblem) -> ManifestField.Kind {
        let isProgram = fields.contains { $0.0 == .program }
        let kind = isProgram ? ManifestField.Kind.program : .image
        if let (field, value) = fields.first(where: { ($0.0.kind ?? kind) != kind }) {
            let other =
                isProgram
                ? "this is for images, and the line has a \"program\""
                : "this goes with a \"program\", and the line has none"
            throw FieldProblem(other, field: field.rawValue, offset: value.node.offset)
        }
        let sources = fields.filter { [.image, .hex, .from].contains($0.0) }
        if sources.count > 1 {
            throw sources[1].1.problem(
                "\"\(sources[0].0.rawValue)\" and \"\(sources[1].0.rawValue)\" exclude each other")
        }
        guard isProgram || !sources.isEmpty || fields.contains(where: { $0.0 == .memoryAt }) else {
            throw FieldProblem("there is nothing to run: write \"image\", \"hex\", \"from\" or \"program\"")
        }
        return kind
    }

    private static func image(_ draft: ManifestDraft) throws(FieldProblem) -> (Work, JobSpec) {
        let submit = draft.submit
        do {
            try submit.guest.validate()
            try submit.inspection.validate()
            try submit.validate()
            var spec = try submit.spec
            spec.label = draft.label ?? ""
            var start = ImageStart(submit.image, submit.guest)
            for (index, name) in draft.moduleNames.enumerated() { start.modules[index].text = name }
            return (.image(submit.jobs.images[0].source, submit.memory.pieces, start), spec)
        } catch {
            throw FieldProblem(ManifestDraft.inFields(error))
        }
    }

    private static func program(_ draft: ManifestDraft, _ folder: String) throws(FieldProblem) -> (Work, JobSpec) {
        do {
            try draft.run.program.validate()
            var request = try draft.run.program.request()
            request.directory = folder
            return (.program(request, draft.run.limits), JobSpec(label: draft.label ?? "", mode: .linux))
        } catch {
            throw FieldProblem(ManifestDraft.inFields(error))
        }
    }

}

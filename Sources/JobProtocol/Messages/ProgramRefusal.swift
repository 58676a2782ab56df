// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What a submission of a program cannot say, and what it cannot leave out: codes of ``Refusal/Rule/invalidField``.
extension Submit {
    /// Whether anything is said that only a program has.
    var hasProgramField: Bool { firstProgramField != nil }

    private var firstProgramField: String? {
        let fields = [
            (program != nil, "program"), (arguments?.isEmpty == false, "arguments"),
            (environment?.isEmpty == false, "environment"), (layers?.isEmpty == false, "layers"),
            (clock != nil, "clock"), (seed != nil, "seed"), (scratchBytes != nil, "scratch_bytes"),
        ]
        return fields.first(where: \.0)?.1
    }

    var programRefusal: Refusal? {
        guard from == nil else { return nil }
        guard mode == GuestMode.linux.rawValue else {
            return firstProgramField.map { Refusal(.invalidField, "\($0) goes with the mode linux, 5, and no other") }
        }
        guard let program = programSpec else {
            return Refusal(.invalidField, "a job of the mode linux needs the field program, its path")
        }
        if let name = excludedField {
            return Refusal(.invalidField, "a program cannot have \(name)")
        }
        return program.stringRefusal ?? program.layerRefusal ?? sizeRefusal(of: program)
    }

    private func sizeRefusal(of program: ProgramSpec) -> Refusal? {
        guard let sum = program.layerBytes else {
            return Refusal(.invalidField, "the layers together have more bytes than 64 bits can say")
        }
        guard sum != imageBytes else { return nil }
        return Refusal(
            .invalidField, "image_bytes is \(imageBytes), and the layers have \(sum) bytes together", limit: sum,
            value: imageBytes)
    }

    /// The first field that says something of an image, of machine code or of steps.
    private var excludedField: String? {
        let isAtStep =
            switch snapshot {
            case nil, .ready: false
            case .steps, .address: true
            }
        let fields = [
            (loadAddress != nil, "load_address"), (entryPoint != nil, "entry_point"),
            (registers?.isEmpty == false, "registers"), (stepBudget != nil, "step_budget: its steps are not counted"),
            (portWrites == true, "port_writes"), (meter != nil, "meter: its steps are not counted"),
            (pause == true, "pause"), (report?.contains(.digest) == true, "digest in its report"),
            (segments?.isEmpty == false, "segments"), (tables?.isEmpty == false, "tables"),
            (controls?.isEmpty == false, "controls"), (pieces?.isEmpty == false, "pieces"),
            (dumps?.isEmpty == false, "dumps"), (trace == true, "trace"),
            (deterministic == true, "deterministic: say clock and seed"),
            (imageDigest != nil, "image_digest: its layers have digests"),
            (isAtStep, "a snapshot but when it is ready"), (board != nil, "board"), (rom != nil, "rom"),
            (vcpus != nil, "vcpus"), (turn != nil, "turn"),
        ]
        return fields.first(where: \.0)?.1
    }
}

extension ProgramSpec {
    /// What is wrong with the strings, which a client also asks before it sends them.
    var stringRefusal: Refusal? {
        guard (1...Self.pathLimit).contains(path.count) else {
            return Refusal(
                .invalidField, "a program's path has 1 to \(Self.pathLimit) bytes, not \(path.count)",
                limit: UInt64(Self.pathLimit), value: UInt64(path.count))
        }
        guard !arguments.isEmpty else {
            return Refusal(.invalidField, "a program has at least one argument, its name")
        }
        let count = arguments.count + environment.count
        guard count <= Self.stringLimit else {
            return Refusal(
                .invalidField, "\(count) arguments and variables are above the limit of \(Self.stringLimit)",
                limit: UInt64(Self.stringLimit), value: UInt64(count))
        }
        guard stringBytes <= Self.stringBytesLimit else {
            return Refusal(
                .invalidField,
                "path, arguments and environment have \(stringBytes) bytes, above the limit of \(Self.stringBytesLimit)",
                limit: UInt64(Self.stringBytesLimit), value: UInt64(stringBytes))
        }
        guard !([path] + arguments + environment).contains(where: { $0.contains(0) }) else {
            return Refusal(.invalidField, "path, arguments and environment have no zero byte in them")
        }
        return nil
    }

    /// What is wrong with the layers. That none comes twice lets WANT_IMAGE ask for each once.
    var layerRefusal: Refusal? {
        guard (1...Self.layerLimit).contains(layers.count) else {
            return Refusal(
                .invalidField, "a program's files are 1 to \(Self.layerLimit) layers, not \(layers.count)",
                limit: UInt64(Self.layerLimit), value: UInt64(layers.count))
        }
        if let empty = layers.firstIndex(where: { $0.bytes == 0 }) {
            return Refusal(.invalidField, "layer \(empty) has no bytes")
        }
        for (place, layer) in layers.enumerated() {
            if let first = layers[..<place].firstIndex(where: { $0.digest == layer.digest }) {
                return Refusal(.invalidField, "layers \(first) and \(place) are the same: name it once")
            }
        }
        return nil
    }
}

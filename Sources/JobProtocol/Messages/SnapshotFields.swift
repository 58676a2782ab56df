// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

extension ContentDigest {
    /// All zeros: what a report that must have a name, and has none, is taken to say.
    static var zero: ContentDigest {
        guard let zero = ContentDigest([UInt8](repeating: 0, count: byteCount)) else {
            preconditionFailure("as many bytes as a digest has make one")
        }
        return zero
    }
}

extension Field {
    func digest() throws(WireError) -> ContentDigest {
        guard let digest = ContentDigest(try bytes(exactly: ContentDigest.byteCount)) else {
            preconditionFailure("the size was checked")
        }
        return digest
    }

    /// A kind and its value. That of `ready` says nothing.
    func snapshotPoint() throws(WireError) -> SnapshotPoint {
        var block = BlockReader(rest: try bytes(exactly: SnapshotPoint.wireSize))
        let (kind, value): (UInt8, UInt64) = (block.next(), block.next())
        switch kind {
        case 1: return .ready
        case 2:
            guard value > 0 else { throw badValue(value) }
            return .steps(value)
        case 3: return .address(value)
        default: throw badValue(kind)
        }
    }
}

extension SnapshotPoint {
    static let wireSize = 9

    var wire: [UInt8] {
        let (kind, value): (UInt8, UInt64) =
            switch self {
            case .ready: (1, 0)
            case .steps(let count): (2, count)
            case .address(let address): (3, address)
            }
        var bytes = [kind]
        bytes.append(bigEndian: value)
        return bytes
    }
}

extension Submit {
    /// What a submission says that a snapshot, taken or started from, excludes: codes of ``Refusal/Rule/invalidField``.
    var snapshotRefusal: Refusal? {
        if from != nil, let name = startField {
            return Refusal(.invalidField, "a job from a snapshot cannot have \(name): the snapshot decides its start")
        }
        guard snapshot != nil else { return nil }
        let excluded = [(input == true, "input"), (pause == true, "pause"), (trace == true, "trace")]
        guard let name = (excluded + [(from != nil, "from")]).first(where: \.0)?.1 else { return nil }
        return Refusal(.invalidField, "a job of which a snapshot is taken cannot have \(name)")
    }

    /// The first field that says something of the start.
    private var startField: String? {
        let fields = [
            (mode != 0, "a mode"), (imageBytes != 0, "an image"), (loadAddress != nil, "a load address"),
            (entryPoint != nil, "an entry point"), (registers?.isEmpty == false, "registers"),
            (memoryBytes != nil, "a size of memory"), (segments?.isEmpty == false, "segments"),
            (tables?.isEmpty == false, "tables"), (controls?.isEmpty == false, "controls"),
            (pieces?.isEmpty == false, "pieces"), (deterministic != nil, "deterministic"),
            (imageDigest != nil, "an image's digest"), (hasProgramField, "a program"), (board != nil, "a board"),
            (rom != nil, "rom"), (vcpus != nil, "vcpus"), (turn != nil, "a turn"),
        ]
        return fields.first(where: \.0)?.1
    }
}

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// The outcomes by number. The raw values are the numbers on the wire; the list is closed for a major version, but for what a
/// client asks for by name.
public enum OutcomeNumber: UInt8, Sendable, Hashable, CaseIterable {
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    case halted = 1, exited, faulted, tripleFault, unemulatable, stepsExhausted, cpuTimeExhausted, wallTimeExhausted
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    case exitsExhausted, outputExhausted, memoryExhausted, cancelled, waitExpired, hostError, snapshotTaken

    /// The fields without which this outcome says too little, lowest first.
    var requiredTags: [ResultReport.Tag] {
        switch self {
        case .halted, .tripleFault: []
        case .exited: [.code]
        case .faulted: [.vector, .rip]
        case .unemulatable: [.instruction]
        case .stepsExhausted, .cpuTimeExhausted, .wallTimeExhausted, .exitsExhausted, .outputExhausted,
            .memoryExhausted:
            [.limit, .used]
        case .cancelled: [.canceller]
        case .waitExpired: [.limit]
        case .hostError: [.text]
        case .snapshotTaken: [.snapshot]
        }
    }

    /// All fields that this outcome may have.
    var tags: [ResultReport.Tag] {
        switch self {
        case .faulted: requiredTags + [.errorCode, .address]
        case .unemulatable: requiredTags + [.rip]
        default: requiredTags
        }
    }
}

/// The fields of a RESULT that only some outcomes have.
public struct OutcomeDetails: Sendable, Hashable {
    /// What the guest wrote to the exit port.
    public var code: UInt32?
    /// The exception's vector.
    public var vector: UInt8?
    /// What the CPU pushed.
    public var errorCode: UInt32?
    /// The address accessed.
    public var address: UInt64?
    /// The address of the instruction.
    public var rip: UInt64?
    /// Bytes at that address.
    public var instruction: [UInt8]?
    /// The budget, in its unit.
    public var limit: UInt64?
    /// What was used of it.
    public var used: UInt64?
    /// Who stopped the job.
    public var canceller: Canceller?
    /// What happened on the host.
    public var text: String?
    /// The snapshot's name.
    public var snapshot: ContentDigest?

    /// Takes the field if it is one of these.
    mutating func take(_ field: Field, _ tag: ResultReport.Tag) throws(WireError) -> Bool {
        switch tag {
        case .code: code = try field.integer()
        case .vector: vector = try field.integer()
        case .errorCode: errorCode = try field.integer()
        case .address: address = try field.integer()
        case .rip: rip = try field.integer()
        case .instruction: instruction = Array(try field.bytes(atMost: ResultReport.instructionLimit))
        case .limit: limit = try field.integer()
        case .used: used = try field.integer()
        case .canceller: canceller = try field.known()
        case .text: text = try field.text(atMost: ResultReport.textLimit)
        case .snapshot: snapshot = try field.digest()
        default: return false
        }
        return true
    }

    /// All of them but the snapshot's name, whose tag is above those of all other fields.
    func put(in fields: inout FieldWriter) {
        typealias Tag = ResultReport.Tag
        fields.put(Tag.code, code)
        fields.put(Tag.vector, vector)
        fields.put(Tag.errorCode, errorCode)
        fields.put(Tag.address, address)
        fields.put(Tag.rip, rip)
        fields.put(Tag.instruction, bytes: instruction.map { Array($0.prefix(ResultReport.instructionLimit)) })
        fields.put(Tag.limit, limit)
        fields.put(Tag.used, used)
        fields.put(Tag.canceller, canceller?.rawValue)
        fields.put(Tag.text, text: text, atMost: ResultReport.textLimit)
    }

    func has(_ tag: ResultReport.Tag) -> Bool {
        switch tag {
        case .code: code != nil
        case .vector: vector != nil
        case .errorCode: errorCode != nil
        case .address: address != nil
        case .rip: rip != nil
        case .instruction: instruction != nil
        case .limit: limit != nil
        case .used: used != nil
        case .canceller: canceller != nil
        case .text: text != nil
        case .snapshot: snapshot != nil
        default: false
        }
    }

    /// Forgets what the outcome does not have: the receiver ignores it.
    mutating func keepOnly(_ tags: [ResultReport.Tag]) {
        if !tags.contains(.code) { code = nil }
        if !tags.contains(.vector) { vector = nil }
        if !tags.contains(.errorCode) { errorCode = nil }
        if !tags.contains(.address) { address = nil }
        if !tags.contains(.rip) { rip = nil }
        if !tags.contains(.instruction) { instruction = nil }
        if !tags.contains(.limit) { limit = nil }
        if !tags.contains(.used) { used = nil }
        if !tags.contains(.canceller) { canceller = nil }
        if !tags.contains(.text) { text = nil }
        if !tags.contains(.snapshot) { snapshot = nil }
    }
}

extension Outcome {
    /// The outcome of a report whose required fields are there.
    init(_ number: OutcomeNumber, _ details: OutcomeDetails) {
        func exhausted(_ kind: BudgetKind) -> Outcome {
            .exhausted(kind, limit: details.limit ?? 0, used: details.used ?? 0)
        }
        self =
            switch number {
            case .halted: .halted
            case .exited: .exited(code: details.code ?? 0)
            case .faulted:
                .faulted(
                    Fault(
                        vector: details.vector ?? 0, errorCode: details.errorCode, address: details.address,
                        rip: details.rip ?? 0))
            case .tripleFault: .tripleFault
            case .unemulatable: .unemulatable(Unemulatable(rip: details.rip, bytes: details.instruction ?? []))
            case .stepsExhausted: exhausted(.steps)
            case .cpuTimeExhausted: exhausted(.cpuTime)
            case .wallTimeExhausted: exhausted(.wallTime)
            case .exitsExhausted: exhausted(.exits)
            case .outputExhausted: exhausted(.output)
            case .memoryExhausted: exhausted(.memory)
            case .cancelled: .cancelled(by: details.canceller ?? .client)
            case .waitExpired: .waitExpired(limit: details.limit ?? 0)
            case .hostError: .hostError(details.text ?? "")
            case .snapshotTaken: .snapshotTaken(details.snapshot ?? .zero)
            }
    }

    /// The number and the fields of this outcome: the one place where they meet.
    var onWire: (OutcomeNumber, OutcomeDetails) {
        var details = OutcomeDetails()
        switch self {
        case .halted: return (.halted, details)
        case .exited(let code):
            details.code = code
            return (.exited, details)
        case .faulted(let fault):
            (details.vector, details.errorCode) = (fault.vector, fault.errorCode)
            (details.address, details.rip) = (fault.address, fault.rip)
            return (.faulted, details)
        case .tripleFault: return (.tripleFault, details)
        case .unemulatable(let instruction):
            (details.rip, details.instruction) = (instruction.rip, instruction.bytes)
            return (.unemulatable, details)
        case .exhausted(let kind, let limit, let used):
            (details.limit, details.used) = (limit, used)
            return (kind.exhausted, details)
        case .cancelled(let canceller):
            details.canceller = canceller
            return (.cancelled, details)
        case .waitExpired(let limit):
            details.limit = limit
            return (.waitExpired, details)
        case .hostError(let text):
            details.text = text
            return (.hostError, details)
        case .snapshotTaken(let name):
            details.snapshot = name
            return (.snapshotTaken, details)
        }
    }
}

extension OutcomeNumber {
    /// The number of an outcome.
    public init(_ outcome: Outcome) { self = outcome.onWire.0 }
}

extension BudgetKind {
    var exhausted: OutcomeNumber {
        switch self {
        case .steps: .stepsExhausted
        case .cpuTime: .cpuTimeExhausted
        case .wallTime: .wallTimeExhausted
        case .exits: .exitsExhausted
        case .output: .outputExhausted
        case .memory: .memoryExhausted
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// What a client asks for, as it came: the mode can be one that this program does not know, and nothing has been compared
/// with the worker's limits.
public struct Submit: Sendable, Hashable {
    /// The largest label in bytes.
    public static let labelLimit = 128
    /// The most registers that can be set: all but RIP.
    public static let registerLimit = 17
    /// Bytes of one register: its number and its value.
    static let registerSize = 9

    /// A name for people.
    public var label: String?
    /// The number of a mode.
    public var mode: UInt8
    /// Bytes of the image that follows.
    public var imageBytes: UInt64
    /// The guest physical address of the image's first byte.
    public var loadAddress: UInt64?
    /// The address of the first instruction.
    public var entryPoint: UInt64?
    /// First values of registers, never of RIP.
    public var registers: [RegisterName: UInt64]?
    /// Bytes of guest memory.
    public var memoryBytes: UInt64?
    /// The most steps.
    public var stepBudget: UInt64?
    /// The most wall time in nanoseconds.
    public var wallBudget: UInt64?
    /// Whether writes to unclaimed ports are streamed.
    public var portWrites: Bool?
    /// Whether INPUT frames will come.
    public var input: Bool?

    /// A submission of a mode and an image's size, with every default.
    public init(mode: UInt8, imageBytes: UInt64) { (self.mode, self.imageBytes) = (mode, imageBytes) }

    /// The submission of this spec. RIP among its registers is left out: the entry point says it.
    public init(_ spec: JobSpec, imageBytes: UInt64) {
        self.init(mode: spec.mode.rawValue, imageBytes: imageBytes)
        label = spec.label.isEmpty ? nil : spec.label
        loadAddress = spec.loadAddress
        entryPoint = spec.entryPoint
        let settable = spec.registers.filter { $0.key != .rip }
        registers = settable.isEmpty ? nil : settable
        memoryBytes = spec.memoryBytes
        stepBudget = spec.budget.steps
        wallBudget = spec.budget.wallTime.wholeNanoseconds
        portWrites = spec.reportsPortWrites ? true : nil
        input = spec.hasInput ? true : nil
    }

    /// The spec, with defaults filled in, of a submission in a mode that this program knows.
    func spec(mode: GuestMode) -> JobSpec {
        let wall = wallBudget.map { Duration(wholeNanoseconds: $0) } ?? Budget.defaultWallTime
        return JobSpec(
            label: label ?? "", mode: mode, loadAddress: loadAddress, entryPoint: entryPoint,
            registers: registers ?? [:],
            memoryBytes: memoryBytes ?? JobSpec.defaultMemoryBytes, budget: Budget(steps: stepBudget, wallTime: wall),
            reportsPortWrites: portWrites ?? false, hasInput: input ?? false)
    }

    private enum Tag: UInt16 {
        case label = 0x0001
        case mode = 0x8002
        case imageBytes, loadAddress, entryPoint, registers, memoryBytes, stepBudget, wallBudget, portWrites, input
    }

    /// - Throws: with the frame's job number, a refusal, when the only thing wrong is a critical field that is not known.
    init(_ frame: Frame) throws(WireError) {
        var fields = FieldReader(frame, .submit)
        var (mode, imageBytes): (UInt8?, UInt64?)
        var refusal: WireError?
        self.init(mode: 0, imageBytes: 0)
        while let field = try fields.next() {
            switch Tag(rawValue: field.tag) {
            case .label: label = try field.text(atMost: Self.labelLimit)
            case .mode: mode = try field.integer()
            case .imageBytes: imageBytes = try field.integer()
            case .loadAddress: loadAddress = try field.integer()
            case .entryPoint: entryPoint = try field.integer()
            case .registers: registers = try Self.registers(field)
            case .memoryBytes: memoryBytes = try field.integer()
            case .stepBudget: stepBudget = try field.integer()
            case .wallBudget: wallBudget = try field.integer()
            case .portWrites: portWrites = try field.flag()
            case .input: input = try field.flag()
            case nil:
                do throws(WireError) { try field.skip() } catch { refusal = refusal ?? error }
            }
        }
        guard let mode else { throw fields.missing(Tag.mode) }
        guard let imageBytes else { throw fields.missing(Tag.imageBytes) }
        if var refusal {
            refusal.job = frame.header.job
            throw refusal
        }
        (self.mode, self.imageBytes) = (mode, imageBytes)
    }

    private static func registers(_ field: Field) throws(WireError) -> [RegisterName: UInt64] {
        let bytes = try field.bytes(atMost: registerLimit * registerSize, multipleOf: registerSize)
        var registers: [RegisterName: UInt64] = [:]
        var last: UInt8?
        for at in stride(from: bytes.startIndex, to: bytes.endIndex, by: registerSize) {
            guard let name = RegisterName(rawValue: bytes[at]), name != .rip, last.map({ $0 < bytes[at] }) ?? true
            else {
                throw field.badValue(bytes[at])
            }
            last = bytes[at]
            registers[name] = UInt64(bigEndianBytes: bytes[at + 1..<at + registerSize])
        }
        return registers
    }

    func frame(job: UInt32) -> Frame {
        var fields = FieldWriter()
        fields.put(Tag.label, text: label, atMost: Self.labelLimit)
        fields.put(Tag.mode, mode)
        fields.put(Tag.imageBytes, imageBytes)
        fields.put(Tag.loadAddress, loadAddress)
        fields.put(Tag.entryPoint, entryPoint)
        fields.put(Tag.registers, bytes: registers.map(Self.encode))
        fields.put(Tag.memoryBytes, memoryBytes)
        fields.put(Tag.stepBudget, stepBudget)
        fields.put(Tag.wallBudget, wallBudget)
        fields.put(Tag.portWrites, flag: portWrites)
        fields.put(Tag.input, flag: input)
        return Frame(.submit, job: job, payload: fields.payload)
    }

    private static func encode(_ registers: [RegisterName: UInt64]) -> [UInt8] {
        var bytes: [UInt8] = []
        for (name, value) in registers.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            bytes.append(name.rawValue)
            bytes.append(bigEndian: value)
        }
        return bytes
    }
}

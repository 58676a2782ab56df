// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// The devices a guest finds on its ports.
///
/// | port | device |
/// |---|---|
/// | 0x3F8-0x3FF | ``Uart16550`` at COM1: the console and its input |
/// | 0xE9 | debug console: a byte written goes to the console, a read gives 0xE9 |
/// | 0xF4 | exit port: any width; ends the job with the value as its code |
/// | 0xF5 | ready port: any width and value; ends a job of which a snapshot is taken there, and does nothing in any other |
///
/// A board of kind ``BoardKind/pc`` has ``PCDevices`` besides. Everything else reads as all ones, and writes to it are counted. A wide
/// access to the UART or the debug console is one access for each byte to consecutive ports, as on an ISA bus.
struct Board {
    /// What a port write asks the run loop to do.
    enum Effect: Equatable {
        case none
        case console(UInt8)
        case consoleBytes([UInt8])
        case exit(code: UInt32)
        case ready
        /// The guest resets its processor.
        case reset
        case unclaimed(PortWrite)
    }

    static let debugConsole: UInt16 = 0xE9
    static let exitPort: UInt16 = 0xF4
    /// The ports whose bytes go to the console: COM1's first one only as long as the UART transmits.
    static let consolePorts = [Uart16550.base, debugConsole]
    static let readyPort: UInt16 = 0xF5

    var uart = Uart16550()
    /// What a PC has besides; nil on a bare board.
    var pc: PCDevices?
    private(set) var unclaimedWrites: UInt64 = 0

    /// A board as a job finds it.
    ///
    /// - Parameters:
    ///   - memoryBytes: guest memory.
    ///   - romBytes: the ROM; 0 for none.
    init(_ kind: BoardKind = .bare, memoryBytes: UInt64 = 0, romBytes: UInt64 = 0, processors: UInt16 = 1) {
        switch kind {
        case .bare: pc = nil
        case .pc: pc = PCDevices(memoryBytes: memoryBytes, romBytes: romBytes, processors: processors)
        }
    }

    /// The devices as the guest has set them, without what belongs to one job: its input, and what is counted of it.
    var settings: Board {
        var board = Board()
        (board.uart, board.pc) = (uart.settings, pc)
        return board
    }

    mutating func read(_ port: UInt16, size: UInt8) -> UInt32 {
        if let value = pc?.readRegister(port, size: size) { return value }
        var value: UInt32 = 0
        for index in 0..<UInt16(size) {
            value |= UInt32(readByte(port &+ index)) << (UInt32(index) * 8)
        }
        return value
    }

    mutating func write(_ port: UInt16, size: UInt8, value: UInt32) -> Effect {
        if port == Self.exitPort { return .exit(code: value) }
        if port == Self.readyPort { return .ready }
        if pc != nil { return writePC(port, size: size, value: value) }
        if size == 1, let claimed = writeByte(UInt8(truncatingIfNeeded: value), to: port) {
            return claimed.map(Effect.console) ?? .none
        }
        var claimedAny = false
        var output: [UInt8] = []
        for index in 0..<UInt16(size) where size > 1 {
            guard let claimed = writeByte(UInt8(truncatingIfNeeded: value >> (UInt32(index) * 8)), to: port &+ index)
            else {
                continue
            }
            claimedAny = true
            if let byte = claimed { output.append(byte) }
        }
        if claimedAny { return output.isEmpty ? .none : .consoleBytes(output) }
        unclaimedWrites += 1
        return .unclaimed(PortWrite(port: port, size: size, value: value))
    }

    /// Whether bytes written to these ports now, one to each, all go to the console and do nothing else.
    func passesOn(_ ports: some Sequence<UInt16>) -> Bool {
        uart.transmits && ports.allSatisfy { $0 == Uart16550.base || $0 == Self.debugConsole }
    }

    private mutating func readByte(_ port: UInt16) -> UInt8 {
        if Uart16550.ports.contains(port) { return uart.read(port - Uart16550.base) }
        return port == Self.debugConsole ? UInt8(Self.debugConsole) : pc?.read(port) ?? 0xFF
    }

    /// nil when no device claims the port; else the byte for the console, if it is one.
    private mutating func writeByte(_ value: UInt8, to port: UInt16) -> UInt8?? {
        if Uart16550.ports.contains(port) { return .some(uart.write(value, to: port - Uart16550.base)) }
        return port == Self.debugConsole ? .some(value) : nil
    }

    // MARK: A PC

    /// What the bytes up to a reset bring about.
    private mutating func writePC(_ port: UInt16, size: UInt8, value: UInt32) -> Effect {
        if pc?.writeRegister(port, size: size, value: value) == true { return .none }
        var isClaimed = false
        var output: [UInt8] = []
        for index in 0..<UInt16(size) {
            let byte = UInt8(truncatingIfNeeded: value >> (UInt32(index) * 8))
            if let claimed = writeByte(byte, to: port &+ index) {
                isClaimed = true
                if let byte = claimed { output.append(byte) }
            } else if let effect = pc?.write(byte, to: port &+ index) {
                isClaimed = true
                if effect == .reset { return .reset }
                if case .console(let byte) = effect { output.append(byte) }
            }
        }
        guard isClaimed else {
            unclaimedWrites += 1
            return .unclaimed(PortWrite(port: port, size: size, value: value))
        }
        return output.isEmpty ? .none : .consoleBytes(output)
    }
}

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The keyboard controller of a PC, to which neither a keyboard nor a mouse is connected.
///
/// | port | read | write |
/// |---|---|---|
/// | 0x60 | the output buffer; again what it held last if it is empty | a command's parameter; else a byte to the keyboard |
/// | 0x64 | status: bit 0 the output buffer is full, bit 2 the self-test has passed, bit 3 the last write was a command, bit 4 unlocked, bit 6 nobody has answered | a command |
///
/// What goes to the keyboard or the mouse is answered by the controller itself: 0xFE, and bit 6 of the status, as nobody is there.
///
/// | command | effect |
/// |---|---|
/// | 0x20, 0x60 | reads, writes the command byte |
/// | 0xA9, 0xAB | tests the mouse's and the keyboard's line; answers 0x01, the clock is stuck low: nothing is connected |
/// | 0xAA | self-test; answers 0x55 |
/// | 0xC0 | reads the input port: 0x80, the keyboard is not locked |
/// | 0xD0, 0xD1 | reads, writes the output port: bit 0 low resets the processor, bit 1 is address line 20, which is always on |
/// | 0xD2, 0xD3 | puts the next byte into the output buffer |
/// | 0xD4 | sends the next byte to the mouse |
/// | 0xF0-0xFF | pulses output lines; with bit 0 low, as 0xFE, it resets the processor |
///
/// All others are taken and have no effect; there are no interrupts. Source: the IBM PC AT's technical reference, "Keyboard controller
/// (8042)".
struct KeyboardController: Sendable, Equatable {
    /// Data.
    static let dataPort: UInt16 = 0x60
    /// Status and commands.
    static let commandPort: UInt16 = 0x64

    /// What a write brings about.
    enum Effect: Equatable {
        case none
        /// The guest resets the processor.
        case reset
    }

    private enum Status {
        static let outputFull: UInt8 = 0x01
        static let systemFlag: UInt8 = 0x04
        static let command: UInt8 = 0x08
        static let unlocked: UInt8 = 0x10
        static let timeout: UInt8 = 0x40
    }

    /// The command whose parameter comes next.
    private enum Expected { case commandByte, outputPort, outputBuffer, mouse }

    private static let selfTestPassed: UInt8 = 0x55
    private static let resend: UInt8 = 0xFE
    private static let clockStuckLow: UInt8 = 0x01
    private static let keyboardUnlocked: UInt8 = 0x80
    /// Of the output port: the processor's reset line, which is active when low, and address line 20.
    private static let (resetLine, addressLine20): (UInt8, UInt8) = (0x01, 0x02)

    private var output: UInt8?
    private var lastOutput: UInt8 = 0
    private var commandByte: UInt8 = 0x01
    private var expected: Expected?
    private var hasPassed = false
    private var lastWasCommand = false
    private var hasTimedOut = false

    /// Port 0x64.
    var status: UInt8 {
        Status.unlocked | (output != nil ? Status.outputFull : 0) | (hasPassed ? Status.systemFlag : 0)
            | (lastWasCommand ? Status.command : 0) | (hasTimedOut ? Status.timeout : 0)
    }

    /// Port 0x60.
    mutating func readData() -> UInt8 {
        lastOutput = output ?? lastOutput
        (output, hasTimedOut) = (nil, false)
        return lastOutput
    }

    /// Port 0x60.
    mutating func writeData(_ value: UInt8) -> Effect {
        defer { (expected, lastWasCommand) = (nil, false) }
        switch expected {
        case .commandByte: commandByte = value
        case .outputPort: return value & Self.resetLine == 0 ? .reset : .none
        case .outputBuffer: output = value
        case .mouse, nil: (output, hasTimedOut) = (Self.resend, true)
        }
        return .none
    }

    /// Port 0x64.
    mutating func writeCommand(_ command: UInt8) -> Effect {
        (expected, lastWasCommand) = (nil, true)
        switch command {
        case 0x20: output = commandByte
        case 0x60: expected = .commandByte
        case 0xA9, 0xAB: output = Self.clockStuckLow
        case 0xAA: (output, hasPassed) = (Self.selfTestPassed, true)
        case 0xC0: output = Self.keyboardUnlocked
        case 0xD0: output = Self.resetLine | Self.addressLine20
        case 0xD1: expected = .outputPort
        case 0xD2, 0xD3: expected = .outputBuffer
        case 0xD4: expected = .mouse
        case 0xF0...0xFF: return command & Self.resetLine == 0 ? .reset : .none
        default: break
        }
        return .none
    }
}

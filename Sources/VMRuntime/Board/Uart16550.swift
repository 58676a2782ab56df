// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The serial port at COM1, as much of a 16550 as polling code needs.
///
/// | offset | read | write |
/// |---|---|---|
/// | 0 | RBR: next input byte, 0 if there is none (DLL if DLAB) | THR: console output (DLL if DLAB) |
/// | 1 | IER (DLM if DLAB) | IER (DLM if DLAB) |
/// | 2 | IIR: no interrupt; FIFO bits as FCR set them | FCR |
/// | 3 | LCR | LCR; bit 7 is DLAB |
/// | 4 | MCR | MCR; bit 4 loops output back to input |
/// | 5 | LSR: transmitter empty always; bit 0 DR = input waits | – |
/// | 6 | MSR: CTS, DSR; bit 7 DCD = input may still come | – |
/// | 7 | SCR | SCR |
///
/// There are no interrupts and no line speed. DCD falls when the input has ended and the guest has read all of it: a serial
/// line's end of file. Source: the data sheet of the National Semiconductor PC16550D.
struct Uart16550 {
    /// The first port of COM1.
    static let base: UInt16 = 0x3F8
    /// Ports it answers on.
    static let ports = base...(base + 7)

    private enum Bit {
        static let dlab: UInt8 = 0x80  // LCR
        static let loopback: UInt8 = 0x10  // MCR
        static let fifoEnabled: UInt8 = 0x01  // FCR
        static let fifoReported: UInt8 = 0xC0  // IIR
        static let noInterrupt: UInt8 = 0x01  // IIR
        static let dataReady: UInt8 = 0x01  // LSR
        static let transmitterEmpty: UInt8 = 0x60  // LSR: THRE and TEMT
        static let lineReady: UInt8 = 0x30  // MSR: CTS and DSR
        static let carrier: UInt8 = 0x80  // MSR: DCD
    }

    private var divisor: (low: UInt8, high: UInt8) = (1, 0)
    private var interruptEnable: UInt8 = 0
    private var fifoControl: UInt8 = 0
    private var lineControl: UInt8 = 3
    private var modemControl: UInt8 = 0
    private var scratch: UInt8 = 0
    private var loopedBack: UInt8?
    private var input: ArraySlice<UInt8> = []
    private var inputEnded = false

    /// What the guest read of its input since this was last set to zero.
    var consumed = 0

    /// Whether the guest can only go on reading after ``refill(_:ended:)``.
    var wantsInput: Bool { input.isEmpty && !inputEnded }

    /// Gives the guest more to read.
    mutating func refill(_ bytes: [UInt8], ended: Bool) {
        input.append(contentsOf: bytes)
        inputEnded = ended
    }

    /// The same registers, and no input.
    var settings: Uart16550 {
        var uart = self
        (uart.input, uart.inputEnded, uart.consumed) = ([], false, 0)
        return uart
    }

    private var latched: Bool { lineControl & Bit.dlab != 0 }
    private var loops: Bool { modemControl & Bit.loopback != 0 }

    /// Whether a byte written to the first register goes out on the line.
    var transmits: Bool { !latched && !loops }

    mutating func read(_ offset: UInt16) -> UInt8 {
        switch offset {
        case 0: latched ? divisor.low : receive()
        case 1: latched ? divisor.high : interruptEnable
        case 2: Bit.noInterrupt | (fifoControl & Bit.fifoEnabled != 0 ? Bit.fifoReported : 0)
        case 3: lineControl
        case 4: modemControl
        case 5: Bit.transmitterEmpty | (dataReady ? Bit.dataReady : 0)
        case 6: modemStatus
        default: scratch
        }
    }

    /// Returns the byte that goes to the console, if any.
    mutating func write(_ value: UInt8, to offset: UInt16) -> UInt8? {
        switch offset {
        case 0 where latched: divisor.low = value
        case 0 where loops: loopedBack = value
        case 0: return value
        case 1 where latched: divisor.high = value
        case 1: interruptEnable = value & 0x0F
        case 2: fifoControl = value
        case 3: lineControl = value
        case 4: modemControl = value & 0x1F
        case 7: scratch = value
        default: break  // LSR and MSR are read-only
        }
        return nil
    }

    private var dataReady: Bool { loops ? loopedBack != nil : !input.isEmpty }

    private mutating func receive() -> UInt8 {
        if loops {
            defer { loopedBack = nil }
            return loopedBack ?? 0
        }
        guard let byte = input.popFirst() else { return 0 }
        consumed += 1
        return byte
    }

    /// In loopback the modem lines are the outputs of MCR: DTR, RTS, OUT1, OUT2 read as DSR, CTS, RI, DCD.
    private var modemStatus: UInt8 {
        guard loops else { return Bit.lineReady | (input.isEmpty && inputEnded ? 0 : Bit.carrier) }
        let control = modemControl
        return (control & 0x02) << 3 | (control & 0x01) << 5 | (control & 0x0C) << 4
    }
}

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Testing

@testable import VMRuntime

@Suite("The keyboard controller of a PC")
struct KeyboardControllerTests {
    @Test("The self-test passes and says so in the status until it is read")
    func selfTest() {
        let controller = Held(KeyboardController())
        #expect(controller.status == 0x10)
        #expect(controller.writeCommand(0xAA) == .none)
        #expect(controller.status == 0x1D)
        #expect(controller.readData() == 0x55)
        #expect(controller.status == 0x1C)
        #expect(controller.readData() == 0x55, "an empty buffer reads as it did")
    }

    @Test("Neither line has anything connected to it", arguments: [0xA9, 0xAB] as [UInt8])
    func lines(command: UInt8) {
        let controller = Held(KeyboardController())
        _ = controller.writeCommand(command)
        #expect(controller.readData() == 0x01)
    }

    @Test("The command byte reads back; other parameters go where their command says")
    func parameters() {
        let controller = Held(KeyboardController())
        _ = controller.writeCommand(0x60)
        #expect(controller.writeData(0x65) == .none)
        #expect(controller.status & 1 == 0)
        _ = controller.writeCommand(0x20)
        #expect(controller.readData() == 0x65)
        _ = controller.writeCommand(0xD2)
        _ = controller.writeData(0x1C)
        #expect(controller.readData() == 0x1C)
    }

    @Test("Of keyboard and mouse the controller itself says that they have not answered")
    func nobody() {
        let controller = Held(KeyboardController())
        _ = controller.writeData(0xFF)
        #expect(controller.status == 0x51)
        #expect(controller.readData() == 0xFE)
        #expect(controller.status == 0x10)
        _ = controller.writeCommand(0xD4)
        _ = controller.writeData(0xFF)
        #expect(controller.readData() == 0xFE)
    }

    @Test("The processor is reset by the output port and by a pulse, and by nothing else")
    func reset() {
        let controller = Held(KeyboardController())
        for command in UInt8.min...UInt8.max {
            let resets = command >= 0xF0 && command & 1 == 0
            #expect(controller.writeCommand(command) == (resets ? .reset : .none))
        }
        _ = controller.writeCommand(0xD1)
        #expect(controller.writeData(0xDF) == .none)
        #expect(controller.writeData(0xFE) == .none, "without the command it goes to the keyboard")
        _ = controller.writeCommand(0xD1)
        #expect(controller.writeData(0xFE) == .reset)
    }
}

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

@testable import VMRuntime

/// The test macros take values apart and cannot call what mutates them; a reference can be asked.
final class Held<Value> {
    var value: Value
    init(_ value: Value) { self.value = value }
}

extension Held where Value == KeyboardController {
    var status: UInt8 { value.status }
    func readData() -> UInt8 { value.readData() }
    func writeData(_ byte: UInt8) -> KeyboardController.Effect { value.writeData(byte) }
    func writeCommand(_ command: UInt8) -> KeyboardController.Effect { value.writeCommand(command) }
}

extension Held where Value == FirmwareConfiguration {
    func select(_ item: UInt16) { value.select(item) }
    func read() -> UInt8 { value.read() }
}

extension Held where Value == FirmwareRegisters {
    func read(_ number: UInt32) -> UInt64? { value.read(number) }
    func write(_ number: UInt32, _ content: UInt64) -> Bool { value.write(number, content) }
}

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What a PC has on its ports beside what every board has: enough for firmware and small kernels to start.
///
/// | port | device |
/// |---|---|
/// | 0x60, 0x64 | ``KeyboardController`` |
/// | 0x70, 0x71 | ``RealTimeClock`` |
/// | 0x80 | firmware's progress codes: taken, and read back |
/// | 0x92 | system control port A: bit 0 resets the processor, bit 1 is address line 20, which is always on |
/// | 0x170-0x177, 0x376, 0x1F0-0x1F7, 0x3F6 | disk interfaces without drives: zeros, which is not busy and not ready |
/// | 0x402 | SeaBIOS's debug console: a byte written goes to the console, a read gives 0xE9 |
/// | 0x510, 0x511 | ``FirmwareConfiguration`` |
/// | 0xCF8, 0xCFC-0xCFF | ``HostBridge`` |
/// | 0xCF9 | reset control: bit 2 resets the processor |
///
/// The interrupt controllers and the timer, 0x20-0x21, 0x40-0x43, 0x61, 0xA0-0xA1, 0x4D0-0x4D1, are the kernel's own. A device never waits
/// and takes every access, whatever its width: what is no register of its width is one access for each byte.
struct PCDevices: Sendable, Equatable {
    /// SeaBIOS's debug console.
    static let firmwareConsole: UInt16 = 0x402
    static let progressPort: UInt16 = 0x80
    static let systemControlPort: UInt16 = 0x92
    static let resetControlPort: UInt16 = 0xCF9

    private static let diskPorts = Set<UInt16>(Array(0x170...0x177) + Array(0x1F0...0x1F7) + [0x376, 0x3F6])
    private static let (fastReset, addressLine20): (UInt8, UInt8) = (0x01, 0x02)
    private static let resetProcessor: UInt8 = 0x04
    private static let consoleIdentity: UInt8 = 0xE9

    private var keyboard = KeyboardController()
    private var clock: RealTimeClock
    private var firmware: FirmwareConfiguration
    private var bridge = HostBridge()
    /// The model-specific registers that are a matter of the board.
    var registers = FirmwareRegisters()
    private var progress: UInt8 = 0

    /// - Parameters:
    ///   - memoryBytes: guest memory.
    ///   - romBytes: the ROM; 0 for none.
    init(memoryBytes: UInt64, romBytes: UInt64, processors: UInt16 = 1) {
        clock = RealTimeClock(memoryBytes: memoryBytes)
        firmware = FirmwareConfiguration(
            memoryBytes: memoryBytes, romBytes: romBytes, processors: processors)
    }

    /// What a written byte brings about.
    enum Effect: Equatable {
        case none
        case console(UInt8)
        case reset
    }

    // MARK: Registers of more than one byte

    /// nil where there is no register of just this width.
    func readRegister(_ port: UInt16, size: UInt8) -> UInt32? {
        port == HostBridge.addressPort && size == 4 ? bridge.address : nil
    }

    /// Returns whether there is a register of just this width.
    mutating func writeRegister(_ port: UInt16, size: UInt8, value: UInt32) -> Bool {
        switch (port, size) {
        case (HostBridge.addressPort, 4): bridge.address = value
        case (FirmwareConfiguration.selectorPort, 2): firmware.select(UInt16(truncatingIfNeeded: value))
        default: return false
        }
        return true
    }

    // MARK: Bytes

    /// nil where no device is.
    mutating func read(_ port: UInt16) -> UInt8? {
        switch port {
        case KeyboardController.dataPort: keyboard.readData()
        case KeyboardController.commandPort: keyboard.status
        case RealTimeClock.dataPort: clock.read()
        case Self.progressPort: progress
        case Self.systemControlPort: Self.addressLine20
        case Self.firmwareConsole: Self.consoleIdentity
        case let port where Self.diskPorts.contains(port): 0
        case FirmwareConfiguration.dataPort: firmware.read()
        case HostBridge.dataPorts: bridge.read(port)
        default: nil
        }
    }

    /// nil where no device is.
    mutating func write(_ value: UInt8, to port: UInt16) -> Effect? {
        switch port {
        case KeyboardController.dataPort: return keyboard.writeData(value) == .reset ? .reset : Effect.none
        case KeyboardController.commandPort: return keyboard.writeCommand(value) == .reset ? .reset : Effect.none
        case RealTimeClock.indexPort: clock.select(value)
        case RealTimeClock.dataPort: clock.write(value)
        case Self.progressPort: progress = value
        case Self.systemControlPort: return value & Self.fastReset != 0 ? .reset : Effect.none
        case Self.firmwareConsole: return .console(value)
        // A byte written there is taken without effect, as on QEMU.
        case FirmwareConfiguration.selectorPort, FirmwareConfiguration.dataPort: break
        case let port where Self.diskPorts.contains(port): break
        case HostBridge.dataPorts: bridge.write(value, to: port)
        case Self.resetControlPort: return value & Self.resetProcessor != 0 ? .reset : Effect.none
        default: return nil
        }
        return Effect.none
    }
}

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import CFloor

/// Hello jobs from a client in C, the same one for kvmjobd and for the worker in C.
struct SocketLoad {
    let path: String
    let dialect: floor_dialect
    var connections = 1
    /// Jobs in flight on each connection.
    var window = 1
    /// Jobs on each connection.
    let jobs: Int
    var spin = Duration.zero

    /// Jobs per second, of which each has printed its text and halted.
    func rate() throws -> Double {
        let (image, text) = (Guest.hello.image, Guest.helloText)
        let nanoseconds = try path.withCString { path in
            try image.withUnsafeBufferPointer { image in
                try text.withUnsafeBufferPointer { text in
                    guard let imageStart = image.baseAddress, let textStart = text.baseAddress else {
                        throw BenchmarkError("hello is empty")
                    }
                    var load = floor_load(
                        dialect: dialect, path: path, image: imageStart, image_bytes: image.count, output: textStart,
                        output_bytes: text.count, connections: Int32(connections), window: Int32(window),
                        jobs: Int32(jobs), spin: UInt64(spin / .nanoseconds(1)))
                    return try check(floor_bring(&load), "the load on \(String(cString: path))")
                }
            }
        }
        return Double(connections * jobs) * 1e9 / Double(nanoseconds)
    }
}

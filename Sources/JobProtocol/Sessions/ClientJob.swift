// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel

/// One job of a ``ClientSession``, from SUBMIT to RESULT or refusal.
struct ClientJob {
    enum Stage: Int {
        case submitted, accepted, started, paused, attaching, attached
    }

    var stage = Stage.submitted
    /// What IMAGE frames hold that are not sent: the image, or a program's layers.
    private var parts: [[UInt8]]
    private var imageSent: UInt64 = 0
    /// Bytes of the first part among them.
    private var partSent = 0
    private let isProgram: Bool
    private var upload: Upload
    private var outputWindow: ReceiveWindow
    private var outputOffsets = StreamOffsets()
    private var inputWindow: SendWindow
    private var inputOffset: UInt64 = 0
    private var queuedInput: [UInt8] = []
    private var inputEnd = InputEnd.open

    /// Whether the SUBMIT asked for a pause.
    let canPause: Bool
    /// Whether the SUBMIT handed the job over, so that its acceptance is the last that comes of it here.
    let isDetached: Bool

    private enum InputEnd { case open, asked, sent }

    private enum Upload {
        /// The worker knows the image, or the layers, by digests, and may want them.
        case offered
        case sending
        case sent
        /// The job starts from a snapshot.
        case none
    }

    init(source: JobSource, spec: JobSpec, outputWindow: UInt32, inputCredit: UInt32) {
        switch source {
        case .image(let image):
            (parts, isProgram, upload) = ([image.bytes], false, image.digest == nil ? .sending : .offered)
        case .program(let layers): (parts, isProgram, upload) = (layers.map(\.bytes), true, .offered)
        case .snapshot: (parts, isProgram, upload) = ([], false, .none)
        }
        (canPause, isDetached) = (spec.pausesWhenStepsRunOut, spec.detachment != nil)
        self.outputWindow = ReceiveWindow(credit: outputWindow)
        inputWindow = SendWindow(credit: inputCredit)
        inputEnd = spec.hasInput ? .open : .sent
    }

    /// A detached job whose output goes on where the request says.
    init(attaching request: AttachRequest, outputWindow: UInt32) {
        (stage, parts, isProgram, upload) = (.attaching, [], false, .none)
        (canPause, isDetached, inputEnd) = (false, false, .sent)
        self.outputWindow = ReceiveWindow(credit: outputWindow)
        inputWindow = SendWindow(credit: 0)
        for (channel, offset) in request.offsets { outputOffsets[channel] = offset }
    }

    /// The worker asks for the image, or for these layers. Returns false if there is nothing that it could ask for, or not any more.
    mutating func sendImage(_ layers: LayerSet?) throws(WireError) -> Bool {
        guard upload == .offered else { return false }
        if isProgram {
            guard let layers else { throw .wantImage(.fieldMissing, "the layers that a program lacks are not named") }
            guard layers.isWithin(parts.count) else {
                throw .wantImage(.badValue, "layers are named beyond the \(parts.count) that there are", layers)
            }
            parts = parts.indices.filter(layers.contains).map { parts[$0] }
        } else if let layers {
            throw .wantImage(.badValue, "layers are named of a job that is no program", layers)
        }
        upload = .sending
        return true
    }

    /// The worker took the job. Returns false if it cannot have the image, or all input of a detached job.
    mutating func releaseImage() -> Bool {
        guard upload != .sending, !isDetached || inputEnd == .sent else { return false }
        (upload, parts) = (.sent, [])
        return true
    }

    /// The next piece of the image that fits in a frame of the worker's, or nil when all is sent or nobody has asked for it.
    mutating func nextImageChunk(frameLimit: UInt32) -> StreamChunk? {
        guard upload == .sending, let part = parts.first else { return nil }
        let stop = min(part.count, partSent + Int(frameLimit) - StreamChunk.headerSize)
        let isPartEnd = stop == part.count
        let chunk = StreamChunk(
            offset: imageSent, bytes: Array(part[partSent..<stop]), isEnd: isPartEnd && parts.count == 1)
        imageSent += UInt64(chunk.bytes.count)
        partSent = isPartEnd ? 0 : stop
        if isPartEnd { parts.removeFirst() }
        if chunk.isEnd { upload = .sent }
        return chunk
    }

    /// Queues input. Does nothing after the end was asked for.
    mutating func queueInput(_ bytes: [UInt8], end: Bool) {
        guard inputEnd == .open else { return }
        queuedInput.append(contentsOf: bytes)
        if end { inputEnd = .asked }
    }

    mutating func addInputCredit(_ credit: UInt32) throws(WireError) { try inputWindow.add(credit) }

    /// Whether queued input waits for credit.
    var hasQueuedInput: Bool { !queuedInput.isEmpty }

    /// As much of the queued input as there is credit for. The end needs none.
    mutating func nextInput() -> StreamChunk? {
        let count = inputWindow.spend(atMost: queuedInput.count)
        let isEnd = inputEnd == .asked && count == queuedInput.count
        guard count > 0 || isEnd else { return nil }
        let chunk = StreamChunk(offset: inputOffset, bytes: Array(queuedInput.prefix(count)), isEnd: isEnd)
        queuedInput.removeFirst(count)
        inputOffset += UInt64(count)
        if isEnd { inputEnd = .sent }
        return chunk
    }

    /// Checks a piece of output against its stream and the credit.
    mutating func takeOutput(_ channel: OutputChannel, _ chunk: StreamChunk) throws(WireError) {
        let expected = outputOffsets[channel]
        guard chunk.offset == expected else { throw .badOffset(.output, chunk.offset, expected: expected) }
        let credit = outputWindow.credit
        guard outputWindow.take(chunk.bytes.count) else {
            throw .windowExceeded(.output, UInt64(chunk.bytes.count), credit: credit)
        }
        outputOffsets[channel] = expected + UInt64(chunk.bytes.count)
    }

    mutating func grantOutput(_ count: Int) -> Window? { outputWindow.grant(count) }
}

extension WireError {
    fileprivate static func wantImage(_ code: ErrorCode, _ message: String, _ layers: LayerSet? = nil) -> WireError {
        WireError(
            code, message, frameType: FrameType.wantImage.rawValue, fieldTag: LayerSet.Tag.layers.rawValue,
            value: layers.map { UInt64($0.rawValue) })
    }
}

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel

/// One job of a ``ServerSession``, from SUBMIT to RESULT or refusal.
struct ServerJob {
    enum Stage {
        /// The worker looks for the image, or for the layers.
        case lookingUp
        /// The image is not complete.
        case uploading
        /// The image of a detached job is complete, its input is not.
        case awaitingInput
        /// The worker has it and has not said yet whether it will run.
        case submitted
        /// A RESULT will follow, from here on.
        case accepted
        /// The client was told that the guest runs, or waits to go on after an EXTEND.
        case started
        /// It waits for an EXTEND.
        case paused
        /// The worker looks for a detached job, and has not said that it knows it.
        case attaching
        /// Its output, as far as it is wanted, and its result follow.
        case attached

        /// Whether the worker can still refuse it.
        var isUndecided: Bool { [.lookingUp, .uploading, .submitted, .attaching].contains(self) }
    }

    /// What never changes: shared, as a session looks at its jobs often and this is made of many parts.
    private final class Terms: Sendable {
        let spec: JobSpec
        let imageBytes: UInt64
        let digest: ContentDigest?
        let namedFields: [UInt8]?
        let submission: Submit?

        init(_ spec: JobSpec, _ submit: Submit) {
            (self.spec, imageBytes, digest) = (spec, submit.imageBytes, submit.imageDigest)
            namedFields = submit.snapshot == nil ? nil : submit.namedFields
            submission = spec.detachment == nil ? nil : submit
        }

        private init() { (spec, imageBytes, digest, namedFields, submission) = (JobSpec(), 0, nil, nil, nil) }

        /// Of a job that came another way and is attached to: nothing of how it was submitted is said here.
        static let attached = Terms()
    }

    private let terms: Terms
    /// Guest memory, where it is known.
    var memoryBytes: UInt64?
    var stage: Stage
    var output: SendWindow
    private var outputOffsets = StreamOffsets()
    private var incoming: IncomingImage?
    /// Of a program: the layers that the worker has.
    private var foundLayers: [Image?] = []
    private var inputWindow: ReceiveWindow
    private var inputOffset: UInt64 = 0
    private var inputHasEnded = false
    private var heldInput: [UInt8] = []
    /// What a detached job starts from whose input is not complete.
    private var heldSource: JobSource?
    /// Bytes that count among those on their way for it: ``ServerSession/uploadBytes``.
    var countedBytes: UInt64 = 0

    init(spec: JobSpec, _ submit: Submit, outputCredit: UInt32, inputWindow: UInt32) {
        terms = Terms(spec, submit)
        let isOffered = submit.imageDigest != nil || spec.program != nil
        stage = submit.from != nil ? .submitted : isOffered ? .lookingUp : .uploading
        if stage == .uploading { incoming = IncomingImage([Self.part(of: submit.imageBytes, nil)]) }
        memoryBytes = submit.from == nil ? spec.memoryBytes : nil
        output = SendWindow(credit: outputCredit)
        self.inputWindow = ReceiveWindow(credit: inputWindow)
    }

    /// A detached job whose output goes on where the request says.
    init(attaching request: AttachRequest, outputCredit: UInt32) {
        (terms, stage, output) = (.attached, .attaching, SendWindow(credit: outputCredit))
        inputWindow = ReceiveWindow(credit: 0)
        for (channel, offset) in request.offsets { outputOffsets[channel] = offset }
    }

    private static func part(of bytes: UInt64, _ digest: ContentDigest?) -> IncomingImage.Part {
        IncomingImage.Part(bytes: bytes, digest: digest, name: "the image")
    }

    var spec: JobSpec { terms.spec }
    /// Bytes of the image that the SUBMIT announced; of a program, of all its layers.
    var imageBytes: UInt64 { terms.imageBytes }
    /// Bytes that come, or are to come, in IMAGE frames.
    var uploadBytes: UInt64 { incoming?.byteCount ?? 0 }
    /// What the image's bytes must have, if the SUBMIT named it.
    var digest: ContentDigest? { terms.digest }
    /// What the name of the snapshot that the job is to end as depends on beside its image.
    var namedFields: [UInt8]? { terms.namedFields }

    /// The SUBMIT of a detached job.
    var submission: Submit? { terms.submission }
    var isDetached: Bool { terms.submission != nil }
    var isAttachment: Bool { stage == .attaching || stage == .attached }

    /// Takes a piece of the image and returns whether it was the last.
    mutating func takeImage(_ chunk: StreamChunk) throws(WireError) -> Bool {
        guard stage == .uploading, incoming != nil else {
            throw WireError(
                .unexpectedFrame, "the image has ended already, or nobody has asked for it",
                frameType: FrameType.image.rawValue)
        }
        return try incoming?.take(chunk) ?? false
    }

    /// The image will come, and is hashed as it does.
    mutating func awaitImage() {
        stage = .uploading
        incoming = IncomingImage([Self.part(of: imageBytes, digest)])
    }

    /// The worker has some of the layers. Those that it has not got will come.
    ///
    /// - Returns: which ones; nil if it has all of them.
    mutating func awaitLayers(beside found: [[UInt8]?]) -> LayerSet? {
        let layers = spec.program?.layers ?? []
        foundLayers = zip(layers, found).map { layer, bytes in bytes.map { Image($0, digest: layer.digest) } }
        let missing = foundLayers.indices.filter { foundLayers[$0] == nil }
        guard !missing.isEmpty else { return nil }
        stage = .uploading
        incoming = IncomingImage(
            missing.map { place in
                IncomingImage.Part(bytes: layers[place].bytes, digest: layers[place].digest, name: "layer \(place)")
            })
        return LayerSet(missing)
    }

    /// Gives away what has come; the job waits for the worker's word now.
    mutating func handOverSource() -> JobSource {
        stage = .submitted
        defer { (incoming, foundLayers) = (nil, []) }
        var came = (incoming.map { $0.finish() } ?? [])[...]
        guard spec.program != nil else { return .image(came.first ?? Image([])) }
        return .program(foundLayers.compactMap { $0 ?? came.popFirst() })
    }

    /// Whether it holds, or may come to hold, bytes of an image, or of a detached job's input, that is not complete.
    var isIncomplete: Bool { [.uploading, .lookingUp, .awaitingInput].contains(stage) }

    /// Keeps what a detached job starts from until its input has ended. Returns false if nothing more is to come.
    mutating func awaitInput(beside source: JobSource) -> Bool {
        guard isDetached, spec.hasInput, !inputHasEnded else { return false }
        (stage, heldSource) = (.awaitingInput, source)
        return true
    }

    /// Gives away what ``awaitInput(beside:)`` kept, once the input has ended.
    mutating func releaseSource() -> JobSource? {
        guard stage == .awaitingInput, inputHasEnded, let source = heldSource else { return nil }
        (stage, heldSource) = (.submitted, nil)
        return source
    }

    /// All input that has come of a detached job.
    var detachedInput: [UInt8] { isDetached ? heldInput : [] }

    /// Why an image that has come whole is not the one that was announced.
    var digestRefusal: Refusal? { incoming?.digestRefusal }

    /// Takes a piece of the guest's input. Until the image is complete it is held, bounded by the window; that of a detached job is held
    /// until it is accepted, bounded by what the session lets it have.
    mutating func takeInput(_ chunk: StreamChunk) throws(WireError) -> (bytes: [UInt8], end: Bool)? {
        let type = FrameType.input
        guard spec.hasInput else {
            throw WireError(.unexpectedFrame, "the SUBMIT announced no input", frameType: type.rawValue)
        }
        guard !inputHasEnded else {
            throw WireError(.unexpectedFrame, "the input has ended already", frameType: type.rawValue)
        }
        guard chunk.offset == inputOffset else { throw .badOffset(type, chunk.offset, expected: inputOffset) }
        let credit = inputWindow.credit
        guard inputWindow.take(chunk.bytes.count) else {
            throw .windowExceeded(type, UInt64(chunk.bytes.count), credit: credit)
        }
        inputOffset += UInt64(chunk.bytes.count)
        inputHasEnded = chunk.isEnd
        guard isIncomplete else { return (chunk.bytes, chunk.isEnd) }
        heldInput.append(contentsOf: chunk.bytes)
        return nil
    }

    /// A guest can see when its input arrives, so that of a deterministic job has to be there before the guest is.
    var refusalOfLateInput: Refusal? {
        guard needsInputFirst, !inputHasEnded else { return nil }
        return Refusal(
            .invalidField,
            "a deterministic job's input must have ended before its image has: send all of it between SUBMIT and IMAGE")
    }

    var needsInputFirst: Bool { spec.isDeterministic && spec.hasInput && !isDetached }

    /// The input that came before the image was complete, if any did.
    mutating func releaseInput() -> (bytes: [UInt8], end: Bool)? {
        guard !isDetached else { return nil }
        defer { heldInput = [] }
        return heldInput.isEmpty && !inputHasEnded ? nil : (heldInput, inputHasEnded)
    }

    /// Credit for input that the guest consumed. None is of use after the end.
    mutating func grantInput(_ count: Int) -> Window? { inputHasEnded ? nil : inputWindow.grant(count) }

    /// As many of these output bytes as there is credit for, at their place in their stream.
    mutating func takeOutput(_ channel: OutputChannel, _ bytes: [UInt8]) -> StreamChunk {
        let count = output.spend(atMost: bytes.count)
        let offset = outputOffsets[channel]
        // Where it begins is for the client to say, and can be no more than 2^63-1.
        outputOffsets[channel] = offset + UInt64(count)
        return StreamChunk(offset: offset, bytes: count == bytes.count ? bytes : Array(bytes.prefix(count)))
    }
}

/// How far each of a job's output streams has come.
struct StreamOffsets {
    private var console: UInt64 = 0
    /// The other channels', of the few jobs that have any.
    private var others: [OutputChannel: UInt64] = [:]

    subscript(channel: OutputChannel) -> UInt64 {
        get { channel == .console ? console : others[channel, default: 0] }
        set { if channel == .console { console = newValue } else { others[channel] = newValue } }
    }
}

extension WireError {
    static func badOffset(_ type: FrameType, _ offset: UInt64, expected: UInt64) -> WireError {
        WireError(
            .badOffset, "the offset is \(offset); the stream goes on at \(expected)", frameType: type.rawValue,
            limit: expected, value: offset)
    }

    static func windowExceeded(_ type: FrameType, _ count: UInt64, credit: UInt32) -> WireError {
        WireError(
            .windowExceeded, "\(count) bytes came; the credit is \(credit)", frameType: type.rawValue,
            limit: UInt64(credit), value: count)
    }
}

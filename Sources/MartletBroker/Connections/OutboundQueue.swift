import MartletFormat
import MartletSystem
import MartletWire

/// A part of a file that is to be sent as it is.
struct FilePart {
    let file: any File
    var position: Int64
    var count: Int
    /// The page cache was just seen to hold it, so sending does not wait for the disk.
    var isResident: Bool
}

/// One part of the attachment of a reply.
enum OutboundPart {
    case slab(ReplySlab)
    case file(FilePart)
}

/// What `OutboundQueue.send` came to.
enum SendStep {
    case drained
    /// The socket takes no more now.
    case blocked
    /// Enough for one turn; others want to be served too.
    case yielded
    /// The first part lies in a file and not in the page cache: someone must read it.
    case needsDisk(FilePart)
}

/// Replies of one connection on their way to the socket, and the order they must keep.
///
/// Produce replies keep the order of their requests: each has a *slot* from the moment its request
/// was taken, and leaves when it is filled and all before it have left. Every other reply leaves
/// when it is ready. Small replies share a slab, so that one call sends many. What lies in memory is
/// given back as soon as the socket has taken it.
struct OutboundQueue {
    private static let sharedSlabBytes = ReplyMemory.ownBytes
    private static let piecesPerCall = 32
    /// At most so much of a file per call: what `mincore` is asked about at once.
    static let fileBytesPerCall = 1_024 * 1_024

    private enum Piece {
        /// `sent` bytes of the slab are gone; `shared` ones may still be appended to.
        case bytes(ReplySlab, sent: Int, shared: Bool)
        case file(FilePart)
        case gone
    }

    private struct Slot {
        let id: UInt64
        let pending: PendingProduce
        var reply: ProduceReply?
        let deadline: Int64
    }

    private var pieces: [Piece] = []
    /// `pieces[..<head]` have left.
    private var head = 0
    /// Bytes that are ready and not sent.
    private(set) var pendingBytes = 0
    private var slots: [Slot] = []
    private var slotHead = 0
    private var nextSlot: UInt64 = 0
    private let memory: ReplyMemory

    init(memory: ReplyMemory) {
        self.memory = memory
    }

    var isEmpty: Bool { head == pieces.count }
    var hasOpenSlots: Bool { slotHead < slots.count }

    // MARK: - Slots

    /// Takes the place of a produce reply in the order.
    mutating func reserve(_ pending: PendingProduce, deadline: Int64) -> UInt64 {
        defer { nextSlot += 1 }
        slots.append(Slot(id: nextSlot, pending: pending, reply: nil, deadline: deadline))
        return nextSlot
    }

    /// Fills a slot. Every reply that is ready in order now leaves; returns how many did.
    mutating func fill(_ id: UInt64, _ reply: ProduceReply) throws(WireError) -> Int {
        guard hasOpenSlots, let first = slots[slotHead...].first, id >= first.id else { return 0 }
        let index = slotHead + Int(id - first.id)
        guard index < slots.count, slots[index].reply == nil else { return 0 }
        slots[index].reply = reply
        var left = 0
        while slotHead < slots.count, let ready = slots[slotHead].reply {
            let header = slots[slotHead].pending.header
            slotHead += 1
            left += 1
            try append(ready, to: header)
        }
        compactSlots()
        return left
    }

    /// Requests whose time is over and that nobody has answered, oldest first.
    func expired(at now: Int64) -> [PendingProduce] {
        guard hasOpenSlots else { return [] }
        return slots[slotHead...].filter { $0.reply == nil && $0.deadline <= now }.map(\.pending)
    }

    // MARK: - Replies

    /// Appends a reply and the parts of the attachment that it announces. One that may be refused
    /// is, with false, when there is no memory for it.
    @discardableResult
    mutating func append(
        _ reply: some WireReply, to header: FrameHeader, _ parts: [OutboundPart] = [],
        mayRefuse: Bool = false
    ) throws(WireError) -> Bool {
        let version = header.version
        let fieldBytes = try reply.fieldBytes(version: version)
        // What follows an attachment cannot share the slab.
        let slab = slabWithRoom(
            for: FrameHeader.byteCount + fieldBytes,
            preferring: parts.isEmpty ? Self.sharedSlabBytes : 0, mayRefuse: mayRefuse)
        guard let slab else { return false }
        try reply.encodeFrame(
            into: slab, fieldBytes: fieldBytes,
            operation: header.operation | FrameHeader.replyBit, version: version,
            correlation: header.correlation)
        pendingBytes += FrameHeader.byteCount + fieldBytes
        append(parts)
        return true
    }

    private mutating func append(_ parts: [OutboundPart]) {
        for part in parts {
            switch part {
            case .slab(let reply):
                pieces.append(.bytes(reply, sent: 0, shared: false))
                pendingBytes += reply.slab.count
            case .file(let part):
                pieces.append(.file(part))
                pendingBytes += part.count
            }
        }
    }

    // MARK: - Sending

    /// Sends until all is gone, the socket is full, or `budget` bytes are sent.
    mutating func send(to socket: Socket, budget: Int) throws(SystemError) -> SendStep {
        var left = budget
        while head < pieces.count {
            guard left > 0 else { return .yielded }
            let result: IOResult
            switch pieces[head] {
            case .bytes:
                result = try sendBytes(to: socket)
            case .file(let part):
                guard part.isResident, let descriptor = part.file.descriptor else {
                    return .needsDisk(part)
                }
                result = try socket.sendFile(
                    from: descriptor, at: part.position,
                    count: min(part.count, Self.fileBytesPerCall))
            case .gone:
                head += 1
                continue
            }
            switch result {
            case .count(let count):
                left -= count
                advance(count)
            case .wouldBlock:
                forgetResidency()
                return .blocked
            case .endOfStream:
                // The file is shorter than its index says: never a silent short reply.
                throw SystemError(call: "sendfile", code: Self.ioError)
            }
        }
        return .drained
    }

    /// The first part, which was in a file, has been read into a slab, or its beginning has.
    mutating func replaceFirst(with reply: ReplySlab) {
        guard head < pieces.count, case .file(var part) = pieces[head] else { return }
        part.position += Int64(reply.slab.count)
        part.count -= reply.slab.count
        let read = Piece.bytes(reply, sent: 0, shared: false)
        if part.count > 0 {
            pieces[head] = .file(part)
            pieces.insert(read, at: head)
        } else {
            pieces[head] = read
        }
    }

    /// The first part lies in the page cache.
    mutating func markFirstResident() {
        guard head < pieces.count, case .file(var part) = pieces[head] else { return }
        part.isResident = true
        pieces[head] = .file(part)
    }

    /// Lets go of everything: the connection is closed.
    mutating func close() {
        for case .bytes(let reply, _, _) in pieces[head...] { reply.end() }
        pieces = []
        head = 0
        slots = []
        slotHead = 0
        pendingBytes = 0
    }

    // MARK: - Steps

    private static let ioError: CInt = 5

    private mutating func slabWithRoom(
        for size: Int, preferring preferred: Int, mayRefuse: Bool
    ) -> ByteSlab? {
        if let last = pieces.indices.last, last >= head,
            case .bytes(let reply, _, true) = pieces[last], reply.slab.freeCapacity >= size
        {
            return reply.slab
        }
        let granted = memory.slab(atLeast: max(size, preferred)) ?? memory.slab(atLeast: size)
        if granted == nil, mayRefuse { return nil }
        let reply = granted ?? memory.slabDue(atLeast: size)
        pieces.append(.bytes(reply, sent: 0, shared: true))
        return reply.slab
    }

    private func sendBytes(to socket: Socket) throws(SystemError) -> IOResult {
        if head + 1 == pieces.count, case .bytes(let reply, let sent, _) = pieces[head] {
            let slab = reply.slab
            return try unsafe slab.withUnsafeBytes(sent..<slab.count) {
                (bytes) throws(SystemError) -> IOResult in
                try unsafe socket.send(bytes)
            }
        }
        var buffers: [UnsafeRawBufferPointer] = unsafe []
        var more = false
        for piece in pieces[head...].prefix(Self.piecesPerCall + 1) {
            guard case .bytes(let reply, let sent, _) = piece,
                unsafe buffers.count < Self.piecesPerCall
            else {
                more = true
                break
            }
            // The slab outlives the call: `pieces` holds it.
            let slab = reply.slab
            unsafe buffers.append(slab.withUnsafeBytes(sent..<slab.count) { unsafe $0 })
        }
        return try unsafe socket.send(buffers, moreFollows: more)
    }

    private mutating func advance(_ count: Int) {
        var left = count
        pendingBytes -= count
        while left > 0, head < pieces.count {
            switch pieces[head] {
            case .bytes(let reply, let sent, let shared):
                let take = min(reply.slab.count - sent, left)
                left -= take
                if sent + take == reply.slab.count {
                    reply.end()
                    pieces[head] = .gone
                    head += 1
                } else {
                    pieces[head] = .bytes(reply, sent: sent + take, shared: shared)
                }
            case .file(var part):
                let take = min(part.count, left)
                left -= take
                part.position += Int64(take)
                part.count -= take
                if part.count == 0 { head += 1 } else { pieces[head] = .file(part) }
            case .gone:
                head += 1
            }
        }
        compactPieces()
    }

    /// After a wait the page cache may have changed.
    private mutating func forgetResidency() {
        for index in head..<pieces.count {
            guard case .file(var part) = pieces[index], part.isResident else { continue }
            part.isResident = false
            pieces[index] = .file(part)
        }
    }

    private mutating func compactPieces() {
        if head == pieces.count {
            pieces.removeAll(keepingCapacity: true)
            head = 0
        } else if head >= 64 {
            pieces.removeFirst(head)
            head = 0
        }
    }

    private mutating func compactSlots() {
        if slotHead == slots.count {
            slots.removeAll(keepingCapacity: true)
            slotHead = 0
        } else if slotHead >= 64 {
            slots.removeFirst(slotHead)
            slotHead = 0
        }
    }
}

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
    case slab(ByteSlab)
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
/// when it is ready. Small replies share a slab, so that one call sends many.
struct OutboundQueue {
    private static let sharedSlabBytes = 16 * 1_024
    private static let piecesPerCall = 32
    /// At most so much of a file per call: what `mincore` is asked about at once.
    static let fileBytesPerCall = 1_024 * 1_024

    private enum Piece {
        /// `sent` bytes of the slab are gone; `shared` ones may still be appended to.
        case bytes(ByteSlab, sent: Int, shared: Bool)
        case file(FilePart)
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
    private let pool: SlabPool

    init(pool: SlabPool) {
        self.pool = pool
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

    /// Appends a reply without attachment.
    mutating func append(
        _ reply: some WireReply, to header: FrameHeader
    ) throws(WireError) {
        let version = header.version
        let fieldBytes = try reply.fieldBytes(version: version)
        let slab = slabWithRoom(for: FrameHeader.byteCount + fieldBytes)
        try reply.encodeFrame(
            into: slab, fieldBytes: fieldBytes,
            operation: header.operation | FrameHeader.replyBit, version: version,
            correlation: header.correlation)
        pendingBytes += FrameHeader.byteCount + fieldBytes
    }

    /// Appends the parts of the attachment that the reply before it announced.
    mutating func append(_ parts: [OutboundPart]) {
        for part in parts {
            switch part {
            case .slab(let slab):
                pieces.append(.bytes(slab, sent: 0, shared: false))
                pendingBytes += slab.count
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

    /// The first part, which was in a file, has been read into `slab`.
    mutating func replaceFirst(with slab: ByteSlab) {
        guard head < pieces.count, case .file(var part) = pieces[head] else { return }
        part.position += Int64(slab.count)
        part.count -= slab.count
        let read = Piece.bytes(slab, sent: 0, shared: false)
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
        while head < pieces.count {
            if case .bytes(let slab, _, _) = pieces[head] { pool.give(slab) }
            head += 1
        }
        pieces = []
        head = 0
        slots = []
        slotHead = 0
        pendingBytes = 0
    }

    // MARK: - Steps

    private static let ioError: CInt = 5

    private mutating func slabWithRoom(for size: Int) -> ByteSlab {
        if let last = pieces.indices.last, last >= head,
            case .bytes(let slab, _, true) = pieces[last], slab.freeCapacity >= size
        {
            return slab
        }
        let slab = pool.take(atLeast: max(size, Self.sharedSlabBytes))
        pieces.append(.bytes(slab, sent: 0, shared: true))
        return slab
    }

    private func sendBytes(to socket: Socket) throws(SystemError) -> IOResult {
        if head + 1 == pieces.count, case .bytes(let slab, let sent, _) = pieces[head] {
            return try unsafe slab.withUnsafeBytes(sent..<slab.count) {
                (bytes) throws(SystemError) -> IOResult in
                try unsafe socket.send(bytes)
            }
        }
        var buffers: [UnsafeRawBufferPointer] = unsafe []
        var more = false
        for piece in pieces[head...].prefix(Self.piecesPerCall + 1) {
            guard case .bytes(let slab, let sent, _) = piece,
                unsafe buffers.count < Self.piecesPerCall
            else {
                more = true
                break
            }
            // The slab outlives the call: `pieces` holds it.
            unsafe buffers.append(slab.withUnsafeBytes(sent..<slab.count) { unsafe $0 })
        }
        return try unsafe socket.send(buffers, moreFollows: more)
    }

    private mutating func advance(_ count: Int) {
        var left = count
        pendingBytes -= count
        while left > 0, head < pieces.count {
            switch pieces[head] {
            case .bytes(let slab, let sent, let shared):
                let take = min(slab.count - sent, left)
                left -= take
                if sent + take == slab.count {
                    pool.give(slab)
                    head += 1
                } else {
                    pieces[head] = .bytes(slab, sent: sent + take, shared: shared)
                }
            case .file(var part):
                let take = min(part.count, left)
                left -= take
                part.position += Int64(take)
                part.count -= take
                if part.count == 0 { head += 1 } else { pieces[head] = .file(part) }
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

import CMartletShim
import Dispatch
import Glibc

/// Watches all sockets of one serial queue: one epoll instance behind one Dispatch read source.
///
/// Sockets are not given to Dispatch sources of their own. libdispatch (6.3, Linux) reads a record of
/// its own after it freed it when a peer's reset arrives while a socket has only one source, which
/// ends the process; it also costs an ioctl, an epoll_ctl and two changes of thread for each event.
/// An epoll instance never hangs up, and what is ready on many sockets is found by one call.
///
/// Where the queue keeps its thread, that waits for the sockets itself: an event changes threads once
/// instead of twice, and the source has nothing to do.
///
/// Everything here but `ring` is called on the queue.
final class Poller: @unchecked Sendable {
    // Sendable: confined to the queue; any thread may ring the bell.

    private struct Slot {
        var source: ReadinessSource?
        /// Tells an event that was found before a slot changed hands from one of its new owner.
        var generation: UInt32 = 0
    }

    /// Ready sockets that are asked for at once.
    private static let eventsMax = 64
    private static let bellToken = UInt64.max

    private let bell: Bell
    private let epoll: Descriptor
    private let source: any DispatchSourceRead
    private var slots: [Slot] = []
    private var free: [Int] = []
    private var ready: [martlet_ready]

    init(on queue: SerialQueue) throws(SystemError) {
        let number = try SystemCall.check("epoll_create1") { martlet_epoll_create() }
        let epoll = Descriptor(number)
        let bell = try Bell()
        try SystemCall.check("epoll_ctl") {
            martlet_epoll_add(number, bell.number, Interest.reading.rawValue, Self.bellToken)
        }
        self.epoll = epoll
        self.bell = bell
        ready = Array(repeating: martlet_ready(), count: Self.eventsMax)
        source = DispatchSource.makeReadSource(
            fileDescriptor: number, queue: queue.dispatchQueue)
        // The queue owns the poller, so both are gone or none.
        source.setEventHandler { [weak self, weak queue] in
            if let self, let queue { self.work(for: queue) }
        }
        // Dispatch has let go of the number only then.
        source.setCancelHandler { _ = epoll }
        source.activate()
    }

    deinit {
        source.cancel()
    }

    /// Where a watched socket's source is kept, alive, until it leaves.
    func enter(_ source: ReadinessSource) -> Int {
        let slot = free.popLast() ?? slots.count
        if slot == slots.count { slots.append(Slot()) }
        slots[slot].source = source
        return slot
    }

    /// Watches it no more, and lets go of its source.
    func leave(_ slot: Int, _ descriptor: CInt, watched: Interest) {
        // Nothing is lost when this fails: the descriptor was closed, which ends the watching too.
        if !watched.isEmpty { _ = martlet_epoll_remove(epoll.value, descriptor) }
        slots[slot].source = nil
        slots[slot].generation &+= 1
        free.append(slot)
    }

    /// Replaces what is watched of a socket. Nothing means nothing: not even its end is told.
    func watch(
        _ descriptor: CInt, _ slot: Int, from old: Interest, to new: Interest
    ) throws(SystemError) {
        if old == new { return }
        let token = UInt64(slots[slot].generation) << 32 | UInt64(slot)
        let epoll = epoll.value
        try SystemCall.check("epoll_ctl") {
            if new.isEmpty { return martlet_epoll_remove(epoll, descriptor) }
            return old.isEmpty
                ? martlet_epoll_add(epoll, descriptor, new.rawValue, token)
                : martlet_epoll_change(epoll, descriptor, new.rawValue, token)
        }
    }

    /// Any thread: ends the wait in `work`.
    func ring() { bell.ring() }

    /// Does what there is to do, jobs and sockets, until there is nothing; for good while the queue
    /// keeps its thread.
    func work(for queue: SerialQueue) {
        while true {
            queue.runPendingJobs()
            let sleeps = queue.fallAsleep()
            let found = find(waits: sleeps)
            if sleeps { queue.wakeUp() }
            for index in 0..<found { tell(ready[index]) }
            if found == 0, queue.rest() { return }
        }
    }

    private func find(waits: Bool) -> Int {
        let found = unsafe ready.withUnsafeMutableBufferPointer { buffer in
            unsafe martlet_epoll_ready(
                epoll.value, buffer.baseAddress, CInt(buffer.count), waits ? -1 : 0)
        }
        return max(0, Int(found))
    }

    private func tell(_ event: martlet_ready) {
        if event.token == Self.bellToken { return bell.silence() }
        let slot = Int(event.token & 0xffff_ffff)
        guard slots[slot].generation == UInt32(event.token >> 32) else { return }
        slots[slot].source?.happened(Interest(rawValue: event.events))
    }
}

/// What is asked of a socket, and what became of it.
struct Interest: OptionSet {
    let rawValue: UInt32

    static let reading = Interest(rawValue: UInt32(MARTLET_READABLE))
    static let writing = Interest(rawValue: UInt32(MARTLET_WRITABLE))
    /// An error or a hang-up: never asked for, always told to a socket that is watched.
    static let ended = Interest(rawValue: UInt32(MARTLET_ENDED))
}

import MartletGroups
import Synchronization

// Records whose handlers never say what became of them: the broker settles them by the group's policy.
extension GroupShard {
    /// On the clerk's queue: what dies has to be read first.
    func decide(_ abandoned: Coordinator.Abandoned) {
        let (group, settlement) = (abandoned.group, abandoned.settlement)
        var contents: Coordinator.DeadContents = [:]
        for place in dying(group, [settlement]) {
            contents[place] = clerk.reader.content(of: place)
        }
        let (read, now) = (contents, now)
        let decided = Carried<[GroupRecord]?>(nil)
        record { coordinator in
            decided.value = coordinator.decided(abandoned, read, at: now)
            return decided.value ?? []
        } following: { coordinator, now in
            // What is not the broker's to decide any more is somebody else's.
            guard decided.value != nil else { return }
            coordinator.follow(group, [settlement], at: now)
        } _: { [self] in
            next()
        }
    }

    private func next() {
        let abandoned = state.withLock { state in
            let next = state.coordinator.nextAbandoned()
            state.isDeciding = next != nil
            return next
        }
        if let abandoned { clerk.execute { self.decide(abandoned) } }
    }
}

extension Coordinator {
    /// nil: it was settled, or given to another one, meanwhile.
    fileprivate func decided(
        _ abandoned: Abandoned, _ contents: DeadContents, at now: Now
    ) -> [GroupRecord]? {
        do throws(GroupRefusal) {
            let outcome = try settle(
                abandoned.group, [abandoned.settlement], contents: contents, at: now)
            return outcome.refusals.isEmpty ? outcome.records : nil
        } catch {
            return nil
        }
    }
}

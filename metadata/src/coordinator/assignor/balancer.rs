//! Which member gets the next partition, and which one gives one up, so that loads become equal step by step
//! (`MemberAssignmentBalancer` of Kafka's `UniformHeterogeneousAssignmentBuilder`).
//!
//! Members are in the order of their loads. Those with the smallest load are a range at the front, those with
//! the largest a range at the back. Partitions are given to the front range in turn; when each of it has one
//! more, the range grows by those that have as many. The back range does the same downwards.

/// See the module. Members are numbers; `sizes` of the methods are their loads as they are by now.
pub(super) struct Balancer {
    sorted: Vec<usize>,
    /// End of the front range.
    least_end: usize,
    /// The load that each of the front range had when its turn began.
    least_count: i64,
    /// Whose turn it is in the front range.
    least_next: usize,
    most_start: usize,
    /// End of the back range: members behind it have nothing to give.
    most_end: usize,
    most_count: i64,
    /// Behind the one whose turn it is in the back range.
    most_next: usize,
}

impl Balancer {
    /// Of some members.
    pub(super) fn new(members: &[usize], sizes: &[i64]) -> Self {
        let mut sorted = members.to_vec();
        sorted.sort_by_key(|member| (size(sizes, *member), *member));
        let end = sorted.len();
        let least = sorted.first().map_or(0, |member| size(sizes, *member));
        let most = sorted.last().map_or(0, |member| size(sizes, *member));
        Self {
            sorted,
            least_end: 0,
            least_count: least - 1,
            least_next: 0,
            most_start: end,
            most_end: end,
            most_count: most + 1,
            most_next: end,
        }
    }

    /// How far loads are apart at the beginning.
    pub(super) fn imbalance(&self) -> i64 {
        // one more and one less than the largest and the smallest
        self.most_count - self.least_count - 2
    }

    /// Whether nothing is to be gained by another step.
    pub(super) fn is_balanced(&self) -> bool {
        self.most_count - self.least_count <= 1
    }

    /// The member that gets the next partition; None = there is no member.
    pub(super) fn next_least(&mut self, sizes: &[i64]) -> Option<usize> {
        if self.least_next >= self.least_end {
            self.least_count += 1;
            while self.is_at(self.least_end, self.least_count, sizes) {
                self.least_end += 1;
            }
            self.least_next = 0;
        }
        let member = self.sorted.get(self.least_next).copied();
        self.least_next += 1;
        member
    }

    /// The member that gives up a partition; None = nobody has any to give.
    pub(super) fn next_most(&mut self, sizes: &[i64]) -> Option<usize> {
        if self.most_next <= self.most_start {
            let before = self.most_start.checked_sub(1);
            let before = before.and_then(|at| self.sorted.get(at).copied());
            match before {
                // all of the range were excluded
                Some(before) if self.most_end <= self.most_start => {
                    self.most_count = size(sizes, before);
                }
                _ => self.most_count -= 1,
            }
            while self.most_start > 0 && self.is_at(self.most_start - 1, self.most_count, sizes) {
                self.most_start -= 1;
            }
            self.most_next = self.most_end;
        }
        self.most_next = self.most_next.checked_sub(1)?;
        self.sorted.get(self.most_next).copied()
    }

    /// The member that was the last to be asked has nothing to give.
    pub(super) fn exclude_most(&mut self) {
        if let Some(last) = self.most_end.checked_sub(1)
            && self.most_next < self.sorted.len()
            && last < self.sorted.len()
        {
            self.sorted.swap(self.most_next, last);
            self.most_end = last;
        }
    }

    fn is_at(&self, at: usize, count: i64, sizes: &[i64]) -> bool {
        let member = self.sorted.get(at);
        member.is_some_and(|member| size(sizes, *member) == count)
    }
}

fn size(sizes: &[i64], member: usize) -> i64 {
    sizes.get(member).copied().unwrap_or(0)
}

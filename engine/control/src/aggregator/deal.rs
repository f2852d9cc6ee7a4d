//! Which leaf serves which leaf partition: dealt like cards, anew at each start.
//!
//! Sorted by (leader, index), one to a leaf in turn, so that each leaf draws on every broker and no
//! leaf has two more than another.

use storage::ids::LeafPartitionId;

/// A leaf partition to deal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Card {
    /// The broker that leads its Kafka partition; -1 unknown.
    pub leader: i32,
    /// The Kafka partition.
    pub kafka_partition: i32,
    /// The leaf partition.
    pub leaf_partition: LeafPartitionId,
}

/// Deals `cards` to leaves that hold `held[leaf]` already; the emptiest leaf is served first.
/// Returns each leaf partition with its leaf. `held` is counted on. No leaf, no answer.
pub fn deal(cards: &mut [Card], held: &mut [usize]) -> Vec<(LeafPartitionId, usize)> {
    cards.sort_unstable();
    let mut order: Vec<usize> = (0..held.len()).collect();
    order.sort_by_key(|&leaf| held[leaf]);
    cards
        .iter()
        .zip(order.iter().cycle())
        .map(|(card, &leaf)| {
            held[leaf] += 1;
            (card.leaf_partition, leaf)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cards(rows: &[(i32, i32)]) -> Vec<Card> {
        rows.iter()
            .map(|&(kafka_partition, leader)| Card {
                leader,
                kafka_partition,
                leaf_partition: LeafPartitionId(100 + kafka_partition as u64),
            })
            .collect()
    }

    #[test]
    fn each_leaf_draws_on_every_broker() {
        for leaders in [[1, 2, 1, 2], [1, 1, 2, 2], [2, 1, 1, 2]] {
            let rows: Vec<_> = (0..4).zip(leaders).collect();
            let dealt = deal(&mut cards(&rows), &mut [0, 0]);
            for leaf in 0..2 {
                let mut brokers: Vec<i32> = dealt
                    .iter()
                    .filter(|(_, to)| *to == leaf)
                    .map(|(id, _)| leaders[id.0 as usize - 100])
                    .collect();
                brokers.sort_unstable();
                assert_eq!(brokers, [1, 2], "leaf {leaf} of {leaders:?}");
            }
        }
    }

    #[test]
    fn the_emptiest_leaf_is_served_first_and_none_has_two_more() {
        let rows: Vec<_> = (0..7).map(|index| (index, index % 3)).collect();
        let mut held = [1, 0, 0];
        deal(&mut cards(&rows), &mut held);
        assert_eq!(held.iter().sum::<usize>(), 8);
        assert!(
            held.iter().max().unwrap() - held.iter().min().unwrap() <= 1,
            "{held:?}"
        );
        assert_eq!(deal(&mut cards(&rows), &mut []), vec![]);
    }
}

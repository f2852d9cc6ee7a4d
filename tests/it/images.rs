//! Crash images: what a real leaf really wrote, synced and renamed, and each state that a power loss could
//! have left of it, recovered.
//!
//! A leaf loads three partitions from the development broker through a disk that notes everything; it seals
//! and merges all the time, one partition stops and starts, one begins two new lineages. Then states are
//! made of the notes ([`tests::images`]), at 512-byte sectors, and each is recovered by the code that a node
//! starts with. What must hold of each, with `PINLEAF_IMAGES` of them (1,000):
//! - what was told durable before that moment is there;
//! - in each lineage every offset from its start to its cursor is one row or one reject, as produced, and the
//!   audit of the records finds nothing;
//! - recovered a second time it is the same; and of some, the power goes in the middle of the recovery too.

mod check;
mod load;

use std::env;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use storage::disk::RealDisk;
use tests::images::state::{Image, Lost, Power};
use tests::images::trace::{Note, Notes, Traced};
use tests::sim::Random;

use check::{Musts, check, recovered, take};
use load::{PARTITIONS, Told, directory, leaf_partition, load};

/// So many images are there where nobody says otherwise.
const IMAGES: u64 = 1_000;
/// Of so many images one loses power in its recovery too.
const NESTED: u64 = 8;

/// Recovers all of an image and looks at it; with `random` the power goes once more on the way.
fn look(
    image: &Image,
    musts: &Musts,
    place: &Path,
    random: Option<&mut Random>,
) -> Result<(), String> {
    let data_dir = place.join("data");
    fs::create_dir(&data_dir).unwrap();
    image.write(&data_dir).unwrap();
    if let Some(random) = random {
        let notes: Arc<Notes<Told>> = Arc::default();
        notes.begin_with(image.files.iter().map(|(path, _)| data_dir.join(path)));
        let disk = Traced::new(Arc::new(RealDisk), Arc::clone(&notes), Arc::new(|_| {}));
        for (&id, must) in musts {
            recovered(&disk, &data_dir, id, must.start.expect("told"))?;
        }
        let notes = notes.take();
        let mut power = Power::new(&data_dir, image);
        let at = random.below(notes.len() as u64 + 1) as usize;
        notes[..at].iter().for_each(|note| power.next(note));
        let (again, _) = power.image(random);
        fs::remove_dir_all(&data_dir).unwrap();
        return look(&again, musts, place, None);
    }
    for (&id, must) in musts {
        let start = must.start.expect("told");
        let said = |why: String| format!("leaf partition {id}: {why}");
        let first = recovered(&RealDisk, &data_dir, id, start).map_err(said)?;
        check(&data_dir, id, must, first).map_err(said)?;
        let before = Image::read(&directory(&data_dir, id)).unwrap();
        let second = recovered(&RealDisk, &data_dir, id, start).map_err(said)?;
        check(&data_dir, id, must, second).map_err(said)?;
        if Image::read(&directory(&data_dir, id)).unwrap() != before {
            return Err(said("a second recovery changes it".to_owned()));
        }
    }
    fs::remove_dir_all(&data_dir).unwrap();
    Ok(())
}

#[test]
fn every_state_that_a_power_loss_may_leave_is_recovered() {
    let images: u64 = env::var("PINLEAF_IMAGES").map_or(IMAGES, |images| images.parse().unwrap());
    let seed: u64 = env::var("PINLEAF_SEED").map_or(1, |seed| seed.parse().unwrap());
    let home = tempfile::tempdir().unwrap();
    let data_dir = home.path().join("data");
    for partition in 0..PARTITIONS {
        fs::create_dir_all(directory(&data_dir, leaf_partition(partition))).unwrap();
    }
    let base = Image::read(&data_dir).unwrap();
    let notes = load(&data_dir, &home.path().join("log"));

    // In memory where there is such a file system: what is synced there costs nothing.
    let memory = Path::new("/dev/shm");
    let place = match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    };
    let mut random = Random::new(seed);
    let (mut power, mut musts) = (Power::new(&data_dir, &base), Musts::new());
    let (mut made, mut lost, mut nested) = (0, Lost::default(), 0);
    let notes_count = notes.len() as u64;
    for (at, note) in notes.iter().enumerate() {
        power.next(note);
        if let Note::Told(told) = note {
            take(&mut musts, *told);
        }
        // Evenly over the run.
        while made < images * (at as u64 + 1) / notes_count {
            let (image, of_it) = power.image(&mut random);
            let again = (made % NESTED == 0).then_some(&mut random);
            nested += u64::from(again.is_some());
            if let Err(why) = look(&image, &musts, place.path(), again) {
                panic!("note {at} of {notes_count}, image {made}: {why}\n{note:?}");
            }
            lost.sectors += of_it.sectors;
            lost.lengths += of_it.lengths;
            lost.names += of_it.names;
            made += 1;
        }
    }
    println!(
        "{made} images of {notes_count} notes, {nested} of them lost power again in recovery; lost in all: {} sectors, \
         {} lengths, {} names",
        lost.sectors, lost.lengths, lost.names
    );
    assert_eq!(made, images);
    assert!(
        lost.sectors > 0 && lost.lengths > 0 && lost.names > 0,
        "{lost:?}"
    );
}

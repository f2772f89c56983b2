#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace sluice::client {

// How rows get into the file. A first load goes into tables beside the entities' own, is kept every
// so often, so that it can go on after a crash, and is shown at its end by switching the tables;
// everything later goes into the tables that readers see, in one transaction a checkpoint. Pure;
// not thread-safe.
class LoadPolicy {
 public:
  explicit LoadPolicy(bool first_load) : first_load_(first_load) {}
  // The file was opened, or gone back to, or completed a checkpoint.
  void Start(bool first_load) { *this = LoadPolicy(first_load); }
  bool first_load() const { return first_load_; }
  // What the table that is to be called `file_name` is called in the file now: before the first
  // complete checkpoint nobody may see the rows.
  std::string TableName(const std::string& file_name) const;
  // Pages of the log after which SQLite copies it into the file.
  int wal_pages() const;

  // An operation of so many bytes came.
  void Came(size_t bytes);
  // Whether so many bytes in memory have to be written into the file.
  static bool IsMuch(size_t bytes_buffered);
  // At the end of a frame: whether what came since the place was kept last is worth a commit, where
  // the buckets hold `rows` rows.
  bool KeepsPlace(uint64_t rows) const;
  void Kept();

  // Whether rows are inserted many at once, without a look whether they are there. Later most are,
  // and an application's triggers would fire for rows that are then merged again.
  bool ExpectsNew() const { return first_load_ && expects_new_; }
  // So many rows were written, of which `met` were there already.
  void Wrote(size_t rows, size_t met);

  // Whether a table of that much is copied at the end of the first load, else renamed: SQLite reads
  // the whole schema again for each table that is renamed. What is loaded in less time than that
  // takes is copied, so that many tables cost no square of their number.
  static bool Copies(size_t rows, size_t bytes);

 private:
  bool first_load_;
  bool expects_new_ = true;
  uint64_t operations_ = 0;  // since the place was kept
  uint64_t bytes_ = 0;
};

}  // namespace sluice::client

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <sys/stat.h>

#include <string>

#include "projectors/store/rocks_env.h"

namespace sluice::projectors {
namespace {

using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOStatus;

// Where there is nothing, or it cannot be looked at, opening it says what is wrong.
IOStatus CheckRegular(const std::string& path) {
  struct stat entry {};
  if (::stat(path.c_str(), &entry) != 0 || S_ISREG(entry.st_mode)) {
    return IOStatus::OK();
  }
  return IOStatus::Corruption(path, "is no regular file");
}

class RegularFiles final : public rocksdb::FileSystemWrapper {
 public:
  using FileSystemWrapper::FileSystemWrapper;
  const char* Name() const override { return "sluice.RegularFiles"; }

  IOStatus NewSequentialFile(const std::string& path, const FileOptions& options,
                             std::unique_ptr<rocksdb::FSSequentialFile>* file,
                             IODebugContext* debug) override {
    const IOStatus regular = CheckRegular(path);
    return regular.ok() ? target()->NewSequentialFile(path, options, file, debug) : regular;
  }
  IOStatus NewRandomAccessFile(const std::string& path, const FileOptions& options,
                               std::unique_ptr<rocksdb::FSRandomAccessFile>* file,
                               IODebugContext* debug) override {
    const IOStatus regular = CheckRegular(path);
    return regular.ok() ? target()->NewRandomAccessFile(path, options, file, debug) : regular;
  }
  IOStatus NewWritableFile(const std::string& path, const FileOptions& options,
                           std::unique_ptr<rocksdb::FSWritableFile>* file,
                           IODebugContext* debug) override {
    const IOStatus regular = CheckRegular(path);
    return regular.ok() ? target()->NewWritableFile(path, options, file, debug) : regular;
  }
  IOStatus ReopenWritableFile(const std::string& path, const FileOptions& options,
                              std::unique_ptr<rocksdb::FSWritableFile>* file,
                              IODebugContext* debug) override {
    const IOStatus regular = CheckRegular(path);
    return regular.ok() ? target()->ReopenWritableFile(path, options, file, debug) : regular;
  }
  IOStatus ReuseWritableFile(const std::string& path, const std::string& old_path,
                             const FileOptions& options,
                             std::unique_ptr<rocksdb::FSWritableFile>* file,
                             IODebugContext* debug) override {
    const IOStatus regular = CheckRegular(old_path);
    return regular.ok() ? target()->ReuseWritableFile(path, old_path, options, file, debug)
                        : regular;
  }
  IOStatus NewRandomRWFile(const std::string& path, const FileOptions& options,
                           std::unique_ptr<rocksdb::FSRandomRWFile>* file,
                           IODebugContext* debug) override {
    const IOStatus regular = CheckRegular(path);
    return regular.ok() ? target()->NewRandomRWFile(path, options, file, debug) : regular;
  }
};

}  // namespace

std::unique_ptr<rocksdb::Env> NewRegularFilesEnv() {
  return rocksdb::NewCompositeEnv(std::make_shared<RegularFiles>(rocksdb::FileSystem::Default()));
}

}  // namespace sluice::projectors

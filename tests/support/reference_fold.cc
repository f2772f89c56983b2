#include "tests/support/reference_fold.h"

#include <openssl/sha.h>

#include <algorithm>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "projectors/rules/filter.h"
#include "schemas/row_codec.h"
#include "xxhash.h"

namespace sluice::testing {
namespace {

using schemas::EntitySchema;

std::string KeyOf(const std::string& name) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(name.data()), name.size(), digest);
  std::string hex;
  for (int i = 0; i < 16; ++i) {
    hex += fmt::format("{:02x}", digest[i]);
  }
  return hex;
}

std::optional<std::string> TextOf(const EntitySchema& schema, uint32_t attribute,
                                  const std::string& bytes) {
  const schemas::Attribute* found = schema.Find(schemas::AttributeId(attribute));
  if (found == nullptr) {
    return std::nullopt;
  }
  return schemas::AttributeText(*found, bytes).value();
}

}  // namespace

void ReferenceFold::Apply(const eventlog::StoredEvent& stored) {
  const eventlog::Event& event = stored.event;
  v1::ChangeSet set;
  v1::OrgOpened opened;
  if (open_ || event.type == "sluice.v1.OrgOpened") {
    Count(stored);
  }
  if (event.type == "sluice.v1.ChangeSet") {
    if (!open_ || !set.ParseFromString(event.value)) {
      ++rejected_;
    } else {
      ApplySet(stored.offset, set);
    }
  } else if (event.type == "sluice.v1.OrgOpened" && opened.ParseFromString(event.value)) {
    open_ = true;
  } else if (!open_) {
    rejected_ += event.type == "sluice.v1.OrgClosed" ? 0 : 1;
  } else if (event.type == "sluice.v1.OrgClosed") {
    open_ = false;
    closed_ = true;
  } else {
    if (ApplyDefinition(event)) {
      ForgetEntities(stored.offset);
      PlaceRows(stored.offset, true);
    } else {
      ++rejected_;
    }
  }
  applied_.position = stored.offset;
  applied_.event_hash = eventlog::EventHash(event);
}

void ReferenceFold::Count(const eventlog::StoredEvent& event) {
  events_.push_back(event.offset);
  const auto age = static_cast<size_t>(options_.tombstone_horizon);
  if (events_.size() > age) {
    applied_.horizon = std::max(applied_.horizon, events_[events_.size() - 1 - age]);
  }
  std::string bytes;
  for (const uint64_t number : {applied_.history, eventlog::EventHash(event.event),
                                static_cast<uint64_t>(event.offset.value())}) {
    for (int shift = 56; shift >= 0; shift -= 8) {
      bytes.push_back(static_cast<char>(number >> shift));
    }
  }
  applied_.history = std::stoull(KeyOf(bytes).substr(0, 16), nullptr, 16);
  history_[event.offset] = applied_.history;
}

bool ReferenceFold::ApplyDefinition(const eventlog::Event& event) {
  v1::EntityDefined entity;
  v1::EntityDeleted gone;
  v1::ProfileDefined profile;
  v1::ProfileDeleted no_profile;
  if (event.type == "sluice.v1.EntityDefined") {
    if (!entity.ParseFromString(event.value)) {
      return false;
    }
    const auto schema = EntitySchema::FromProto(entity.schema());
    const auto same = entities_.find(entity.schema().name());
    const bool known_id = names_.contains(entity.schema().entity_id());
    if (!schema.ok() || (same != entities_.end() && same->second->id() != (*schema)->id()) ||
        (same == entities_.end() && known_id)) {
      return false;
    }
    entities_[entity.schema().name()] = *schema;
    names_[entity.schema().entity_id()] = entity.schema().name();
    return true;
  }
  if (event.type == "sluice.v1.EntityDeleted" && gone.ParseFromString(event.value)) {
    std::erase_if(entities_,
                  [&](const auto& e) { return e.second->id().value() == gone.entity_id(); });
    return true;
  }
  if (event.type == "sluice.v1.ProfileDefined" && profile.ParseFromString(event.value)) {
    profiles_[profile.profile().name()] = profile.profile();
    return true;
  }
  if (event.type == "sluice.v1.ProfileDeleted" && no_profile.ParseFromString(event.value)) {
    profiles_.erase(no_profile.name());
    return true;
  }
  v1::SourceDefined source;
  v1::SourceDeleted no_source;
  if (event.type == "sluice.v1.SourceDefined" && source.ParseFromString(event.value)) {
    sources_[source.settings().name()] = source.epoch();
    return true;
  }
  if (event.type == "sluice.v1.SourceDeleted" && no_source.ParseFromString(event.value)) {
    sources_.erase(no_source.name());
    return true;
  }
  return event.type == "sluice.v1.RoleDefined" || event.type == "sluice.v1.RoleDeleted";
}

class ReferenceFold::ProfileRules {
 public:
  ProfileRules(const ReferenceFold& fold, const v1::Profile& profile)
      : fold_(fold), profile_(profile) {
    for (const auto& [key, row] : fold.rows_) {
      if (row.live) {
        by_entity_[key.first].push_back(key);
      }
    }
  }

  // Every row's buckets by this profile's rules of the entity called `name`.
  const Buckets& Of(const std::string& name) {
    const auto [found, added] = done_.try_emplace(name);
    const auto entity = fold_.entities_.find(name);
    if (added && entity != fold_.entities_.end()) {
      for (const v1::EntityRules& rules : profile_.entities()) {
        for (const v1::Rule& rule : rules.rules()) {
          if (rules.entity() == name) {
            Evaluate(rule, *entity->second, &found->second);
          }
        }
      }
    }
    return found->second;
  }

  // What each row gives another by a related rule; and the references by which children are found.
  std::map<std::string, std::set<std::string>> given;
  std::set<std::string> links;

 private:
  const std::vector<Key>& RowsOf(const EntitySchema& schema) {
    return by_entity_[schema.id().value()];
  }
  const std::string& Bytes(const Key& key) const { return fold_.rows_.at(key).bytes; }

  void Evaluate(const v1::Rule& rule, const EntitySchema& schema, Buckets* out) {
    const std::string prefix = "e" + std::to_string(schema.id().value()) + "|";
    const v1::Ownership& owner = schema.proto().ownership();
    switch (rule.kind()) {
      case v1::RULE_KIND_ALL:
        for (const Key& key : RowsOf(schema)) {
          (*out)[key][prefix + "all"].insert(prefix + "all");
        }
        break;
      case v1::RULE_KIND_USER:
        return Owned(prefix + "user:a", owner.user(), schema, out);
      case v1::RULE_KIND_TEAM:
        return Owned(prefix + "team:a", owner.team(), schema, out);
      case v1::RULE_KIND_BUSINESS_UNIT:
        return Owned(prefix + "business_unit:a", owner.business_unit(), schema, out);
      case v1::RULE_KIND_FILTER:
        return Filtered(prefix + "filter:", rule.where(), schema, out);
      default:
        Related(prefix + "related:", rule.through(), schema, out);
    }
  }

  void Owned(const std::string& prefix, uint32_t attribute, const EntitySchema& schema,
             Buckets* out) {
    const std::string id = prefix + std::to_string(attribute);
    for (const Key& key : RowsOf(schema)) {
      if (const auto text = TextOf(schema, attribute, Bytes(key)); text.has_value()) {
        (*out)[key][id].insert(id + "=" + *text);
      }
    }
  }

  void Filtered(const std::string& prefix, const std::string& where, const EntitySchema& schema,
                Buckets* out) {
    const auto filter = projectors::Filter::Parse(where, schema).value();
    for (const projectors::FilterAlternative& alternative : filter->alternatives()) {
      std::string id = prefix;
      unsigned char digest[SHA256_DIGEST_LENGTH];
      SHA256(reinterpret_cast<const unsigned char*>(alternative.canonical.data()),
             alternative.canonical.size(), digest);
      for (size_t i = 0; i < 16; ++i) {
        id += fmt::format("{:02x}", digest[i]);
      }
      for (const Key& key : RowsOf(schema)) {
        std::string values;
        bool in = alternative.condition == nullptr || *alternative.condition->Matches(Bytes(key));
        for (const projectors::ClaimTerm& term : alternative.terms) {
          if (term.attribute.value() != 0) {
            const auto text = TextOf(schema, term.attribute.value(), Bytes(key));
            in = in && text.has_value();
            values += fmt::format("{}:{}", text.value_or("").size(), text.value_or(""));
          }
        }
        if (in) {
          (*out)[key][id].insert(values.empty() ? id : id + "=" + values);
        }
      }
    }
  }

  void Related(const std::string& prefix, const std::string& through, const EntitySchema& schema,
               Buckets* out) {
    const std::string holder_name = through.substr(0, through.find('.'));
    const auto holder = fold_.entities_.find(holder_name);
    if (holder == fold_.entities_.end()) {
      return;
    }
    const schemas::Attribute& attribute =
        *holder->second->Find(std::string_view(through).substr(holder_name.size() + 1));
    const bool down = holder_name == schema.name();
    const std::string source_name = down ? attribute.references : holder_name;
    if (!fold_.entities_.contains(source_name)) {
      return;
    }
    const std::string rule_prefix =
        prefix + fmt::format("e{}.a{}<", holder->second->id().value(), attribute.id.value());
    const uint32_t source_id = fold_.entities_.at(source_name)->id().value();
    for (const auto& [source, by_rule] : Of(source_name)) {
      for (const auto& [source_rule, buckets] : by_rule) {
        for (const std::string& bucket : buckets) {
          const std::string name = rule_prefix + source_rule + "=" + KeyOf(bucket);
          if (down) {
            for (const Key& key : RowsOf(schema)) {
              if (TextOf(schema, attribute.id.value(), Bytes(key)) == source.second) {
                (*out)[key][rule_prefix + source_rule].insert(name);
              }
            }
            continue;
          }
          const auto target = TextOf(*holder->second, attribute.id.value(), Bytes(source));
          if (!target.has_value()) {
            continue;
          }
          const Key key(schema.id().value(), *target);
          given[fmt::format("support of e{} {}: {}", key.first, key.second, name)].insert(
              fmt::format("e{} {}", source_id, source.second));
          if (fold_.rows_.contains(key) && fold_.rows_.at(key).live) {
            (*out)[key][rule_prefix + source_rule].insert(name);
          }
        }
      }
    }
    if (down && HasRules(source_name)) {
      for (const Key& key : RowsOf(schema)) {
        if (const auto text = TextOf(schema, attribute.id.value(), Bytes(key)); text.has_value()) {
          links.insert(fmt::format("link e{}.a{} {} {}", key.first, attribute.id.value(), *text,
                                   key.second));
        }
      }
    }
  }

  // Does the profile make any rule of the entity? Rows or not.
  bool HasRules(const std::string& name) const {
    const auto entity = fold_.entities_.find(name);
    for (const v1::EntityRules& rules : profile_.entities()) {
      for (const v1::Rule& rule : rules.rules()) {
        if (entity == fold_.entities_.end() || rules.entity() != name) {
          continue;
        }
        if (rule.kind() != v1::RULE_KIND_RELATED) {
          return true;
        }
        const std::string holder = rule.through().substr(0, rule.through().find('.'));
        const auto found = fold_.entities_.find(holder);
        if (found == fold_.entities_.end()) {
          continue;
        }
        const std::string& references =
            found->second->Find(std::string_view(rule.through()).substr(holder.size() + 1))
                ->references;
        if (HasRules(holder == name ? references : holder)) {
          return true;
        }
      }
    }
    return false;
  }

  const ReferenceFold& fold_;
  const v1::Profile& profile_;
  std::map<uint32_t, std::vector<Key>> by_entity_;
  std::map<std::string, Buckets> done_;
};

ReferenceFold::Buckets ReferenceFold::AllBuckets(std::map<std::string, uint64_t>* support,
                                                 std::set<std::string>* links) const {
  Buckets all;
  std::map<std::string, std::set<std::string>> given;
  for (const auto& [profile_name, profile] : profiles_) {
    ProfileRules rules(*this, profile);
    for (const auto& [name, schema] : entities_) {
      for (const auto& [key, by_rule] : rules.Of(name)) {
        for (const auto& [rule, buckets] : by_rule) {
          all[key][rule].insert(buckets.begin(), buckets.end());
        }
      }
    }
    for (const auto& [what, givers] : rules.given) {
      given[what].insert(givers.begin(), givers.end());
    }
    links->insert(rules.links.begin(), rules.links.end());
  }
  for (const auto& [what, givers] : given) {
    (*support)[what] = givers.size();
  }
  return all;
}

namespace {

// The stays before the one that began at `entered` that somebody may still ask for: those that were
// not over for good, by another one's begin, when the horizon passed.
std::vector<projectors::Stay> Remembered(const std::vector<projectors::Stay>& stays, Offset entered,
                                         Offset horizon) {
  std::vector<projectors::Stay> remembered;
  Offset next = entered;
  for (auto stay = stays.rbegin(); stay != stays.rend() && next > horizon; ++stay) {
    remembered.insert(remembered.begin(), *stay);
    next = stay->from;
  }
  return remembered;
}

}  // namespace

// The rows of entities that are gone are rows no more.
void ReferenceFold::ForgetEntities(Offset offset) {
  for (auto& [key, row] : rows_) {
    if (!entities_.contains(names_.at(key.first)) ||
        entities_.at(names_.at(key.first))->id().value() != key.first) {
      row.version.reset();
      if (row.live) {
        row.live = false;
        row.bytes.clear();
        row.last = Position{offset, 0};
      }
    }
  }
}

// Brings every row into the buckets that the rules give it now.
void ReferenceFold::PlaceRows(Offset offset, bool by_definition) {
  std::map<std::string, uint64_t> support;
  std::set<std::string> links;
  const Buckets all = AllBuckets(&support, &links);
  for (auto& [key, row] : rows_) {
    std::set<std::string> now;
    if (const auto found = all.find(key); row.live && found != all.end()) {
      for (const auto& [rule, buckets] : found->second) {
        now.insert(buckets.begin(), buckets.end());
      }
    }
    const bool written = row.last.offset == offset;
    const Position position = written ? row.last : Position{offset, 0};
    for (auto& [bucket, place] : row.buckets) {
      if (place.member && !now.contains(bucket)) {
        place.position = position;
        place.member = false;
        place.by_definition = by_definition;
      }
    }
    for (const std::string& bucket : now) {
      const auto [place, added] = row.buckets.try_emplace(bucket);
      Place& is = place->second;
      const bool expired = !added && !is.member && is.position.offset <= applied_.horizon;
      if (added || expired) {
        is = Place{BucketKey(), position, true, 0, offset};
      } else if (!is.member) {
        is.earlier.push_back({is.entered, is.position.offset, is.by_definition});
        is.earlier = Remembered(is.earlier, offset, applied_.horizon);
        const auto within = std::ranges::count_if(is.earlier, [&](const projectors::Stay& stay) {
          return stay.until > applied_.horizon;
        });
        if (within > 8) {
          is.earlier[1].from = is.earlier[0].from;
          is.earlier.erase(is.earlier.begin());
        }
        is = Place{BucketKey(), position, true, 0, offset, false, std::move(is.earlier)};
      } else if (written) {
        is.position = position;
      }
    }
  }
}

const EntitySchema* ReferenceFold::SchemaOf(uint32_t entity) const {
  for (const auto& [name, schema] : entities_) {
    if (schema->id().value() == entity) {
      return schema.get();
    }
  }
  return nullptr;
}

bool ReferenceFold::IsKey(const EntitySchema& schema, const std::string& key) const {
  const auto canonical = schemas::CanonicalText(schema.key().type, key);
  return schemas::ValidateKey(key).ok() && canonical.ok() && *canonical == key;
}

bool ReferenceFold::Applicable(const v1::Operation& op) const {
  const EntitySchema* const schema = SchemaOf(op.entity_id());
  if (schema == nullptr || !IsKey(*schema, op.key())) {
    return false;
  }
  if (op.kind() == v1::Operation::KIND_DELETE) {
    return true;
  }
  if (!schemas::ValidateRow(*schema, op.row()).ok()) {
    return false;
  }
  const std::optional<std::string> key = TextOf(*schema, schema->key().id.value(), op.row());
  if (op.kind() == v1::Operation::KIND_UPSERT) {
    return key == op.key();
  }
  const bool clears_ids = std::ranges::all_of(op.cleared(), [&](uint32_t id) {
    return id != 0 && id != schema->key().id.value() && id < schema->proto().next_attribute_id();
  });
  return op.kind() == v1::Operation::KIND_PATCH && clears_ids && key.value_or(op.key()) == op.key();
}

bool ReferenceFold::ApplicableInSource(const v1::Operation& op, bool alone) const {
  const EntitySchema* const schema = SchemaOf(op.entity_id());
  if (schema == nullptr) {
    return false;
  }
  switch (op.kind()) {
    case v1::Operation::KIND_SWEEP:
      return alone && op.has_version() && op.key().empty();
    case v1::Operation::KIND_TOUCH:
      return op.has_version() && IsKey(*schema, op.key());
    case v1::Operation::KIND_DELETE:
      return Applicable(op);
    case v1::Operation::KIND_UPSERT: {
      std::set<uint32_t> kept(op.kept().begin(), op.kept().end());
      return Applicable(op) && std::ranges::equal(kept, op.kept()) && !kept.contains(0) &&
             !kept.contains(schema->key().id.value()) &&
             (kept.empty() || *kept.rbegin() < schema->proto().next_attribute_id()) &&
             (op.kept_from().empty() || IsKey(*schema, op.kept_from()));
    }
    default:
      return false;
  }
}

bool ReferenceFold::TakesStep(Offset offset, const v1::ChangeSet& set) {
  const v1::SourceStep& step = set.step();
  const std::pair name(step.source(), step.stream());
  const auto source = sources_.find(step.source());
  const auto found = chains_.find(name);
  v1::SourceState chain = found == chains_.end() ? v1::SourceState() : found->second;
  if (source == sources_.end() || source->second != step.epoch()) {
    return false;
  }
  if (found != chains_.end() && chain.epoch() != step.epoch()) {
    if (!chain.cursor().empty()) {
      chain.set_former_cursor(chain.cursor());
    }
    chain.clear_last_id();
    chain.clear_rows();
  }
  if (step.after() != chain.last_id() || step.number() != chain.number() + 1) {
    return false;
  }
  chain.set_epoch(step.epoch());
  chain.set_last_id(set.id());
  chain.set_number(step.number());
  chain.set_cursor(step.cursor());
  chain.set_offset(offset.value());
  chain.set_rows(chain.rows() + static_cast<uint64_t>(set.ops_size()));
  chains_[name] = chain;
  return true;
}

void ReferenceFold::ApplySet(Offset offset, const v1::ChangeSet& set) {
  if (set.incarnation() > 1) {
    (set.has_step() ? stale_steps_ : rejected_) += 1;
    return;
  }
  if (set.has_step() && !TakesStep(offset, set)) {
    ++stale_steps_;
    return;
  }
  const std::string id = set.source() + '\0' + set.id();
  const auto seen = sets_.find(id);
  if (!set.has_step() && !set.id().empty() && seen != sets_.end() &&
      static_cast<int64_t>(events_.size() - seen->second.ordinal) <= options_.dedup_window) {
    ++duplicates_;
    return;
  }
  for (const v1::Operation& op : set.ops()) {
    if (!set.only_changes() && !Applicable(op)) {
      ++rejected_;
      return;
    }
  }
  for (int i = 0; i < set.ops_size(); ++i) {
    const Position position{offset, static_cast<uint32_t>(i)};
    if (!set.only_changes()) {
      ApplyOp(position, set.ops(i));
    } else if (ApplicableInSource(set.ops(i), set.ops_size() == 1)) {
      ApplySourceOp(position, set.ops(i));
    } else {
      ++rejected_;
    }
  }
  PlaceRows(offset, false);
  if (!set.has_step() && !set.id().empty()) {
    sets_[id] = {offset, events_.size()};
  }
}

void ReferenceFold::Sweep(Offset offset, const v1::Operation& op) {
  for (auto& [key, row] : rows_) {
    if (key.first == op.entity_id() && row.live &&
        (!row.version.has_value() || *row.version <= op.version())) {
      row.live = false;
      row.bytes.clear();
      row.version = op.version();
      row.last = Position{offset, 0};
    }
  }
}

// With what it keeps of a row that is there: what the operation says itself counts.
std::string ReferenceFold::RowOf(const v1::Operation& op) const {
  std::map<uint32_t, std::string> fields;
  const auto add = [&fields](const std::string& row, const auto& wanted) {
    for (schemas::RowScanner scanner(row); scanner.Next();) {
      if (wanted(scanner.field().id.value())) {
        fields[scanner.field().id.value()] = std::string(scanner.field().raw);
      }
    }
  };
  const auto own = rows_.find({op.entity_id(), op.key()});
  const bool is_again = own != rows_.end() && own->second.live && op.has_version() &&
                        own->second.version == op.version();
  const auto from =
      op.kept_from().empty() || is_again ? own : rows_.find({op.entity_id(), op.kept_from()});
  if (from != rows_.end() && from->second.live) {
    add(from->second.bytes,
        [&](uint32_t id) { return std::ranges::find(op.kept(), id) != op.kept().end(); });
  }
  std::erase_if(fields, [schema = SchemaOf(op.entity_id())](const auto& field) {
    return schema->Find(schemas::AttributeId(field.first)) == nullptr;
  });
  add(op.row(), [](uint32_t) { return true; });
  std::string row;
  for (const auto& [id, field] : fields) {
    row += field;
  }
  return row;
}

// Of the attributes that there are.
std::map<uint32_t, std::string> ReferenceFold::FieldsOf(uint32_t entity,
                                                        const std::string& row) const {
  std::map<uint32_t, std::string> fields;
  const EntitySchema* const schema = SchemaOf(entity);
  for (schemas::RowScanner scanner(row); scanner.Next();) {
    if (schema->Find(scanner.field().id) != nullptr) {
      fields[scanner.field().id.value()] = std::string(scanner.field().raw);
    }
  }
  return fields;
}

void ReferenceFold::ApplySourceOp(Position position, const v1::Operation& op) {
  if (op.kind() == v1::Operation::KIND_SWEEP) {
    return Sweep(position.offset, op);
  }
  const Key key(op.entity_id(), op.key());
  const auto found = rows_.find(key);
  const bool live = found != rows_.end() && found->second.live;
  const std::optional<int64_t> version =
      found == rows_.end() ? std::nullopt : found->second.version;
  if (op.has_version() && version.has_value() && *version > op.version()) {
    return;
  }
  const bool remove = op.kind() == v1::Operation::KIND_DELETE;
  const bool touch = op.kind() == v1::Operation::KIND_TOUCH;
  if (!live && (touch || (remove && (!op.has_version() || version == op.version())))) {
    return;
  }
  const std::string bytes = op.kind() == v1::Operation::KIND_UPSERT ? RowOf(op) : "";
  Row& row = rows_[key];
  if (op.has_version()) {
    row.version = op.version();
  }
  if (touch ||
      (live && !remove && FieldsOf(op.entity_id(), row.bytes) == FieldsOf(op.entity_id(), bytes))) {
    return;
  }
  row.last = position;
  row.live = !remove;
  row.bytes = bytes;
}

void ReferenceFold::ApplyOp(Position position, const v1::Operation& op) {
  const Key key(op.entity_id(), op.key());
  const auto found = rows_.find(key);
  const bool live = found != rows_.end() && found->second.live;
  if (op.has_version() && found != rows_.end() && found->second.version.has_value() &&
      *found->second.version >= op.version()) {
    return;
  }
  const bool remove = op.kind() == v1::Operation::KIND_DELETE;
  if (!live && (op.kind() == v1::Operation::KIND_PATCH || (remove && !op.has_version()))) {
    return;
  }
  Row& row = rows_[key];
  row.last = position;
  if (op.has_version()) {
    row.version = op.version();
  }
  row.live = !remove;
  if (remove) {
    row.bytes.clear();
  } else if (op.kind() == v1::Operation::KIND_UPSERT) {
    row.bytes = op.row();
  } else {
    std::vector<schemas::AttributeId> cleared(op.cleared().begin(), op.cleared().end());
    std::sort(cleared.begin(), cleared.end());
    row.bytes = schemas::PatchRow(row.bytes, op.row(), cleared).value();
  }
}

namespace {

// One bucket's operation on a row.
std::string DescribePlace(const std::string& bucket_key, const projectors::Membership& place,
                          Position last, Offset horizon) {
  std::string text = fmt::format(
      " [{} {}@{}.{} since {}{}", bucket_key, place.member ? "put" : "remove",
      place.position.offset.value(), place.member && place.position == last ? last.index : 0,
      place.entered.value(), place.by_definition ? " ended by a definition" : "");
  for (const projectors::Stay& stay : Remembered(place.earlier, place.entered, horizon)) {
    text += fmt::format(", {} to {}{}", stay.from.value(), stay.until.value(),
                        stay.by_definition ? " by a definition" : "");
  }
  return text + "]";
}

// When a bucket changed last, of one that has rows or whose change is still remembered.
void DescribeBucket(const std::string& bucket_key, uint64_t rows, Offset changed, Offset horizon,
                    std::vector<std::string>* lines) {
  if (rows > 0 || changed > horizon) {
    lines->push_back(fmt::format("bucket {} {} rows changed {}", bucket_key, rows,
                                 changed > horizon ? changed.value() : -1));
  }
}

template <typename History>
void DescribeHistory(const History& history, Offset horizon, std::vector<std::string>* lines) {
  for (const auto& [offset, value] : history) {
    if (offset > horizon) {
      lines->push_back(fmt::format("history {} {:x}", offset.value(), value));
    }
  }
}

std::string DescribeChain(const std::string& source, const std::string& stream,
                          const v1::SourceState& chain) {
  return fmt::format("source {}/{} {}", source, stream, chain.ShortDebugString());
}

std::string DescribeRow(uint32_t entity, const std::string& key, Position last, bool live,
                        std::optional<int64_t> version, const std::string& bytes) {
  return fmt::format("row e{} {} last {}.{} {} version {} bytes {}", entity, key,
                     last.offset.value(), live ? last.index : 0, live ? "live" : "gone",
                     version.has_value() ? std::to_string(*version) : "none",
                     XXH64(bytes.data(), bytes.size(), 0));
}

}  // namespace

std::vector<std::string> ReferenceFold::Describe() const {
  std::vector<std::string> lines;
  std::map<std::string, uint64_t> support;
  std::set<std::string> links;
  (void)AllBuckets(&support, &links);
  uint64_t live = 0;
  std::map<std::string, std::pair<uint64_t, Offset>> buckets;  // rows and last change
  for (const auto& [key, row] : rows_) {
    std::set<std::string> places;
    for (const auto& [name, place] : row.buckets) {
      auto& [rows, changed] = buckets.try_emplace(KeyOf(name), 0, kNoOffset).first->second;
      rows += place.member ? 1 : 0;
      changed = std::max(changed, place.position.offset);
      if (place.member || place.position.offset > applied_.horizon) {
        places.insert(DescribePlace(KeyOf(name), place, row.last, applied_.horizon));
      }
    }
    live += row.live ? 1 : 0;
    if (row.live || row.version.has_value() || !places.empty()) {
      lines.push_back(
          DescribeRow(key.first, key.second, row.last, row.live, row.version, row.bytes) +
          fmt::format("{}", fmt::join(places, "")));
    }
  }
  for (const auto& [key, bucket] : buckets) {
    DescribeBucket(key, bucket.first, bucket.second, applied_.horizon, &lines);
  }
  DescribeHistory(history_, applied_.horizon, &lines);
  for (const auto& [what, count] : support) {
    lines.push_back(fmt::format("{} {}x", what, count));
  }
  lines.insert(lines.end(), links.begin(), links.end());
  for (const auto& [name, chain] : chains_) {
    lines.push_back(DescribeChain(name.first, name.second, chain));
  }
  for (const auto& [id, set] : sets_) {
    lines.push_back(fmt::format("set {} {} {}th", id, set.offset.value(), set.ordinal));
  }
  lines.push_back(fmt::format("applied {} {:x} rows {} horizon {} events {}",
                              applied_.position.value(), applied_.event_hash, live,
                              applied_.horizon.value(), events_.size()));
  std::sort(lines.begin(), lines.end());
  return lines;
}

std::vector<std::string> ReferenceFold::Describe(const StoreContent& content,
                                                 const projectors::OrgModel& model) {
  std::vector<std::string> lines;
  for (const auto& [key, record] : content.records) {
    const bool live = !record.deleted;
    std::set<std::string> places;
    for (const projectors::Membership& m : record.memberships) {
      if (m.member || m.position.offset > content.applied.horizon) {
        places.insert(DescribePlace(m.bucket.ToHex(), m, record.last, content.applied.horizon));
      }
    }
    if (live || record.version.has_value() || !places.empty()) {
      lines.push_back(
          DescribeRow(key.entity.value(), key.key, record.last, live, record.version, record.row) +
          fmt::format("{}", fmt::join(places, "")));
    }
    for (const projectors::Support& s : record.support) {
      const projectors::SyncRule* rule = model.rules().FindRule(s.rule);
      lines.push_back(fmt::format("support of e{} {}: {}={} {}x", key.entity.value(), key.key,
                                  rule == nullptr ? "a rule that is gone" : rule->id,
                                  s.source.ToHex(), s.count));
    }
  }
  for (const projectors::Link& link : content.links) {
    lines.push_back(fmt::format("link e{}.a{} {} {}", link.entity.value(), link.attribute.value(),
                                link.value, link.child));
  }
  for (const auto& [key, bucket] : content.buckets) {
    DescribeBucket(key.ToHex(), bucket.count, bucket.changed, content.applied.horizon, &lines);
  }
  DescribeHistory(content.history, content.applied.horizon, &lines);
  for (const auto& [name, serialized] : content.sources) {
    v1::SourceState chain;
    chain.ParseFromString(serialized);
    lines.push_back(DescribeChain(name.source, name.stream, chain));
  }
  for (const auto& [id, set] : content.change_sets) {
    lines.push_back(fmt::format("set {} {} {}th", id, set.offset.value(), set.ordinal));
  }
  lines.push_back(fmt::format("applied {} {:x} rows {} horizon {} events {}",
                              content.applied.position.value(), content.applied.event_hash,
                              content.applied.records, content.applied.horizon.value(),
                              content.applied.events));
  std::sort(lines.begin(), lines.end());
  return lines;
}

}  // namespace sluice::testing

// A stream of events: which cluster an item is nearest to, what the clusters come to with it, and by what numbers its
// near-duplicates are known.
//
// It does what PlainIndex of event_index.py and NearDuplicates of event_items.py do, sum for sum in the same order, so that
// both ways give the same numbers to the last bit; hence nothing here may be added up in another order, nor a product be
// joined with a sum.
//
// Shapes   an item is n distinct terms (int32) with their weights (float64), and its heaviest terms; a cluster is named by its
//          place, a term by its number. Both are given out again once they are free

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <new>
#include <string>
#include <vector>

#if defined(__clang__)
#pragma clang fp contract(off) reassociate(off)
#elif defined(__GNUC__)
#pragma GCC optimize("no-associative-math", "fp-contract=off")
#endif

namespace {

constexpr double kDay = 86400.0;
volatile double kTwo = 2.0;  // else a compiler takes exp2 for pow, which may differ in the last bit

// One product after the other, as Python does it; Python asks it whether this compiler was told so.
inline double product(const double *a, const double *b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

struct Holding {  // a cluster's weight of a term by which it is found
  double weight;
  int32_t holder, nth;  // nth: of the cluster's heavy terms
};

struct Heavy {
  int32_t term, count, at;  // count: members that have it among their heaviest; at: where it stands in the term's postings
};

struct Cluster {
  std::vector<int32_t> terms;  // of the centroid, in the order in which they came
  std::vector<double> weights;
  std::vector<Heavy> heavy;
  double squared = 0, length = 1, first = 0, last = 0;
  int64_t number = 0;
};

struct Found {
  double total;
  int32_t place;
};

struct Index {
  int64_t compared, most;  // most: terms of a centroid
  double threshold, half_life, alive;
  std::vector<std::string> names;              // of terms; UTF-8 has the order of Python's strings
  std::vector<std::vector<Holding>> postings;  // of terms
  std::vector<int32_t> free_places;
  std::vector<Cluster> clusters;
  int64_t held = 0;            // terms that have postings
  std::vector<int32_t> where;  // of terms: 1 + the place in the item that is looked at, 0 where it lacks the term
  std::vector<double> row, sums;
  std::vector<int32_t> touched;
  std::vector<Found> found;
};

// While it lives `where` says where the terms of an item stand.
struct Looked {
  Index &index;
  const int32_t *terms;
  int64_t n;
  Looked(Index &index, const int32_t *terms, int64_t n) : index(index), terms(terms), n(n) {
    for (int64_t i = 0; i < n; ++i) index.where[terms[i]] = static_cast<int32_t>(i + 1);
  }
  ~Looked() {
    for (int64_t i = 0; i < n; ++i) index.where[terms[i]] = 0;
  }
};

void hold(Index &index, int32_t place, Heavy heavy, double weight) {
  auto &cluster = index.clusters[place];
  auto &posting = index.postings[heavy.term];
  index.held += posting.empty();
  heavy.at = static_cast<int32_t>(posting.size());
  posting.push_back({weight, place, static_cast<int32_t>(cluster.heavy.size())});
  cluster.heavy.push_back(heavy);
}

// The last one of the term's postings takes the room.
void drop(Index &index, const Heavy &heavy) {
  auto &posting = index.postings[heavy.term];
  const Holding moved = posting[heavy.at] = posting.back();
  index.clusters[moved.holder].heavy[moved.nth].at = heavy.at;
  posting.pop_back();
  index.held -= posting.empty();
  if (posting.empty()) std::vector<Holding>().swap(posting);
}

double &weight_of(Index &index, const Heavy &heavy) { return index.postings[heavy.term][heavy.at].weight; }

void measure(Cluster &cluster) { cluster.length = cluster.squared ? std::sqrt(cluster.squared) : 1.0; }

// Clusters are called "e1", "e2", ... and equal ones come by name.
bool named_before(const Index &index, int32_t one, int32_t other) {
  return std::to_string(index.clusters[one].number) < std::to_string(index.clusters[other].number);
}

// The clusters with the largest sums of products over the heavy terms, over their length.
void nearest(Index &index, const double *weights, const int32_t *heavy, int64_t m) {
  index.touched.clear();
  index.found.clear();
  for (int64_t h = 0; h < m; ++h) {
    const int32_t known = index.where[heavy[h]];
    const double weight = known ? weights[known - 1] : 0.0;
    for (const Holding &at : index.postings[heavy[h]]) {
      if (index.sums[at.holder] == 0) index.touched.push_back(at.holder);  // one that is still 0 may come twice
      index.sums[at.holder] += weight * at.weight;
    }
  }
  for (const int32_t place : index.touched) {
    const double total = index.sums[place] / index.clusters[place].length;
    index.sums[place] = 0;
    if (total != 0) index.found.push_back({total, place});
  }
  const auto last = index.found.begin() + std::min<int64_t>(index.compared, index.found.size());
  std::partial_sort(index.found.begin(), last, index.found.end(), [&](const Found &a, const Found &b) {
    return a.total != b.total ? a.total > b.total : named_before(index, a.place, b.place);
  });
  index.found.erase(last, index.found.end());
}

// Of an item that `where` knows, and the centroid.
double cosine(Index &index, const Cluster &cluster, const double *weights, int64_t n) {
  if (cluster.squared == 0) return 0;
  index.row.assign(n, 0.0);
  for (size_t j = 0; j < cluster.terms.size(); ++j)
    if (const int32_t place = index.where[cluster.terms[j]]) index.row[place - 1] = cluster.weights[j];
  return product(weights, index.row.data(), n) / cluster.length;
}

int64_t best(Index &index, const double *weights, int64_t n, double at) {
  int64_t best = -1;
  double highest = index.threshold;
  for (const Found &one : index.found) {
    const Cluster &cluster = index.clusters[one.place];
    const double gap = std::max({0.0, at - cluster.last, cluster.first - at}) / kDay;
    if (gap > index.alive) continue;
    const double likeness = cosine(index, cluster, weights, n) * std::pow(kTwo, -gap / index.half_life);
    if (likeness < highest) continue;
    if (likeness > highest || best < 0 || cluster.number < index.clusters[best].number) {
      best = one.place;
      highest = likeness;
    }
  }
  return best;
}

// Places of the first `most` by falling weight, equal ones by name.
template <typename Weight>
std::vector<int32_t> heaviest_first(int64_t n, int64_t most, Weight weight, const std::vector<std::string> &names,
                                    auto term) {
  std::vector<int32_t> order(n);
  for (int64_t i = 0; i < n; ++i) order[i] = static_cast<int32_t>(i);
  const auto last = order.begin() + std::min(most, n);
  std::partial_sort(order.begin(), last, order.end(), [&](int32_t a, int32_t b) {
    return weight(a) != weight(b) ? weight(a) > weight(b) : names[term(a)] < names[term(b)];
  });
  order.erase(last, order.end());
  return order;
}

// Keep the heaviest terms of the centroid, and those that most members have among their heaviest.
void truncate(Index &index, int32_t place) {
  Cluster &cluster = index.clusters[place];
  const auto kept = heaviest_first(
      cluster.terms.size(), index.most, [&](int32_t j) { return cluster.weights[j]; }, index.names,
      [&](int32_t j) { return cluster.terms[j]; });
  std::vector<int32_t> terms;
  std::vector<double> weights;
  terms.reserve(2 * index.most + 64);
  weights.reserve(2 * index.most + 64);
  for (const int32_t j : kept) {
    terms.push_back(cluster.terms[j]);
    weights.push_back(cluster.weights[j]);
  }
  cluster.terms.swap(terms);
  cluster.weights.swap(weights);

  const auto stay = heaviest_first(
      cluster.heavy.size(), index.most, [&](int32_t j) { return cluster.heavy[j].count; }, index.names,
      [&](int32_t j) { return cluster.heavy[j].term; });
  std::vector<Heavy> heavy;
  std::vector<uint8_t> stays(cluster.heavy.size(), 0);
  for (const int32_t j : stay) stays[j] = 1;
  for (size_t j = 0; j < stays.size(); ++j)
    if (!stays[j]) drop(index, cluster.heavy[j]);
  for (size_t j = 0; j < stays.size(); ++j)
    if (stays[j]) {
      Holding &one = index.postings[cluster.heavy[j].term][cluster.heavy[j].at];
      one.nth = static_cast<int32_t>(heavy.size()), one.weight = 0;
      heavy.push_back(cluster.heavy[j]);
    }
  cluster.heavy.swap(heavy);
  const Looked looked(index, cluster.terms.data(), cluster.terms.size());
  for (const Heavy &one : cluster.heavy)
    if (const int32_t at = index.where[one.term]) weight_of(index, one) = cluster.weights[at - 1];
}

// The item's terms into the centroid; whether it was cut.
bool add(Index &index, int32_t place, const int32_t *terms, const double *weights, int64_t n) {
  Cluster &cluster = index.clusters[place];
  const Looked looked(index, terms, n);
  index.row.assign(n, 0.0);  // what was there before
  for (size_t j = 0; j < cluster.terms.size(); ++j)
    if (const int32_t at = index.where[cluster.terms[j]]) {
      index.row[at - 1] = cluster.weights[j];
      cluster.weights[j] += weights[at - 1];
      index.where[cluster.terms[j]] = -at;  // it is known
    }
  for (int64_t i = 0; i < n; ++i)
    if (index.where[terms[i]] > 0) {
      cluster.terms.push_back(terms[i]);
      cluster.weights.push_back(weights[i]);
    }
  cluster.squared += 2 * product(weights, index.row.data(), n) + (n ? 1.0 : 0.0);
  measure(cluster);
  return static_cast<int64_t>(cluster.terms.size()) > 2 * index.most;
}

// Note the weights of the item's terms by which the cluster is found.
void note(Index &index, int32_t place, const int32_t *terms, int64_t n, const int32_t *heavy, int64_t m) {
  Cluster &cluster = index.clusters[place];
  const Looked looked(index, terms, n);
  index.row.assign(n, 0.0);
  for (size_t j = 0; j < cluster.terms.size(); ++j)
    if (const int32_t at = index.where[cluster.terms[j]]) index.row[at - 1] = cluster.weights[j];
  for (const Heavy &one : cluster.heavy)
    if (const int32_t at = index.where[one.term]) weight_of(index, one) = index.row[at - 1];
  for (int64_t h = 0; h < m; ++h) {
    const auto known = std::find_if(cluster.heavy.begin(), cluster.heavy.end(),
                                    [&](const Heavy &one) { return one.term == heavy[h]; });
    if (known != cluster.heavy.end()) {
      ++known->count;
      continue;
    }
    const int32_t at = index.where[heavy[h]];
    hold(index, place, {heavy[h], 1, 0}, at ? index.row[at - 1] : 0.0);
  }
}

void release(Index &index, int32_t place) {
  Cluster &cluster = index.clusters[place];
  for (const Heavy &one : cluster.heavy) drop(index, one);
  cluster = Cluster();
}

}  // namespace

extern "C" {

double foveal_events_product(const double *a, const double *b, int64_t n) { return product(a, b, n); }

void *foveal_events_new(int64_t compared, int64_t most, double threshold, double half_life, double alive) {
  Index *made = new (std::nothrow) Index();
  if (made) made->compared = compared, made->most = most;
  if (made) made->threshold = threshold, made->half_life = half_life, made->alive = alive;
  return made;
}

void foveal_events_free(void *index) { delete static_cast<Index *>(index); }

// A term's number and name; numbers are given out one after the other, and again once they are free.
void foveal_events_name(void *handle, int64_t term, const char *name, int64_t length) {
  Index &index = *static_cast<Index *>(handle);
  if (term == static_cast<int64_t>(index.names.size())) {
    index.names.emplace_back();
    index.postings.emplace_back();
    index.where.push_back(0);
  }
  index.names[term].assign(name, length);
}

// The places in an item of its heaviest terms.
int64_t foveal_events_heaviest(void *handle, const int32_t *terms, const double *weights, int64_t n, int64_t most,
                               int32_t *out) {
  const auto order = heaviest_first(
      n, most, [&](int32_t i) { return weights[i]; }, static_cast<Index *>(handle)->names,
      [&](int32_t i) { return terms[i]; });
  std::copy(order.begin(), order.end(), out);
  return order.size();
}

// The place of the cluster that an item of that moment joins, -1 where it opens one.
int64_t foveal_events_best(void *handle, const int32_t *terms, const double *weights, int64_t n, const int32_t *heavy,
                           int64_t m, double at) {
  Index &index = *static_cast<Index *>(handle);
  const Looked looked(index, terms, n);
  nearest(index, weights, heavy, m);
  return best(index, weights, n, at);
}

int64_t foveal_events_open(void *handle, int64_t number) {
  Index &index = *static_cast<Index *>(handle);
  if (index.free_places.empty()) {
    index.free_places.push_back(static_cast<int32_t>(index.clusters.size()));
    index.clusters.emplace_back();
    index.sums.push_back(0);
  }
  const int32_t place = index.free_places.back();
  index.free_places.pop_back();
  index.clusters[place].number = number;
  return place;
}

void foveal_events_span(void *handle, int64_t place, double first, double last) {
  Cluster &cluster = static_cast<Index *>(handle)->clusters[place];
  cluster.first = first, cluster.last = last;
}

// Whether the centroid was cut; `squared`: its length, squared.
int64_t foveal_events_add(void *handle, int64_t place, const int32_t *terms, const double *weights, int64_t n,
                          const int32_t *heavy, int64_t m, double *squared) {
  Index &index = *static_cast<Index *>(handle);
  const int32_t at = static_cast<int32_t>(place);
  const bool cut = add(index, at, terms, weights, n);
  if (cut) truncate(index, at);
  note(index, at, terms, n, heavy, m);
  *squared = index.clusters[at].squared;
  return cut;
}

// A cluster's sums anew.
void foveal_events_put(void *handle, int64_t place, const int32_t *terms, const double *weights, int64_t n,
                       const int32_t *heavy, const int32_t *counts, int64_t m, double squared) {
  Index &index = *static_cast<Index *>(handle);
  Cluster &cluster = index.clusters[place];
  for (const Heavy &one : cluster.heavy) drop(index, one);
  cluster.terms.assign(terms, terms + n);
  cluster.weights.assign(weights, weights + n);
  cluster.heavy.clear();
  cluster.squared = squared;
  measure(cluster);
  const Looked looked(index, terms, n);
  for (int64_t h = 0; h < m; ++h) {
    const int32_t at = index.where[heavy[h]];
    hold(index, static_cast<int32_t>(place), {heavy[h], counts[h], 0}, at ? weights[at - 1] : 0.0);
  }
}

// How many terms the centroid has, and how many the cluster is found by.
void foveal_events_sizes(void *handle, int64_t place, int64_t *sizes) {
  const Cluster &cluster = static_cast<Index *>(handle)->clusters[place];
  sizes[0] = cluster.terms.size(), sizes[1] = cluster.heavy.size();
}

void foveal_events_read(void *handle, int64_t place, int32_t *terms, double *weights, int32_t *heavy, int32_t *counts) {
  const Cluster &cluster = static_cast<Index *>(handle)->clusters[place];
  std::copy(cluster.terms.begin(), cluster.terms.end(), terms);
  std::copy(cluster.weights.begin(), cluster.weights.end(), weights);
  for (const Heavy &one : cluster.heavy) *heavy++ = one.term, *counts++ = one.count;
}

// The numbers of the centroid's heaviest terms, equal ones in the order in which they came.
int64_t foveal_events_top(void *handle, int64_t place, int64_t most, int32_t *out) {
  const Cluster &cluster = static_cast<Index *>(handle)->clusters[place];
  std::vector<int32_t> order(cluster.terms.size());
  for (size_t j = 0; j < order.size(); ++j) order[j] = static_cast<int32_t>(j);
  const auto last = order.begin() + std::min<int64_t>(most, order.size());
  std::partial_sort(order.begin(), last, order.end(), [&](int32_t a, int32_t b) {
    return cluster.weights[a] != cluster.weights[b] ? cluster.weights[a] > cluster.weights[b] : a < b;
  });
  for (auto one = order.begin(); one != last; ++one) *out++ = cluster.terms[*one];
  return last - order.begin();
}

void foveal_events_forget(void *handle, int64_t place) {
  Index &index = *static_cast<Index *>(handle);
  release(index, static_cast<int32_t>(place));
  index.free_places.push_back(static_cast<int32_t>(place));
}

// The terms by which any cluster is found.
int64_t foveal_events_held(void *handle) { return static_cast<Index *>(handle)->held; }

// Which terms any cluster has.
void foveal_events_used(void *handle, uint8_t *used) {
  for (const Cluster &cluster : static_cast<Index *>(handle)->clusters) {
    for (const int32_t term : cluster.terms) used[term] = 1;
    for (const Heavy &one : cluster.heavy) used[one.term] = 1;
  }
}

// The distinct hashes of all 3-grams of words, in order, and the upper halves of their minima over random orders; how many.
// Of fewer than three words there is one gram. `grams` has room for n.
int64_t foveal_events_grams(const uint64_t *words, int64_t n, const uint64_t *multiply, const uint64_t *plus,
                            int64_t orders, uint64_t *grams, uint32_t *minima) {
  int64_t count = n < 3 ? 1 : n - 2;
  if (n < 3) grams[0] = words[0] + (n > 1 ? words[1] : 0);
  for (int64_t i = 0; i + 2 < n; ++i)
    grams[i] = words[i] * 0x9E3779B97F4A7C15u + words[i + 1] * 0xC2B2AE3D27D4EB4Fu + words[i + 2] * 0x165667B19E3779F9u;
  std::sort(grams, grams + count);
  count = std::unique(grams, grams + count) - grams;
  for (int64_t order = 0; order < orders; ++order) {
    uint64_t least = UINT64_MAX;
    for (int64_t i = 0; i < count; ++i) least = std::min(least, grams[i] * multiply[order] + plus[order]);
    minima[order] = static_cast<uint32_t>(least >> 32);
  }
  return count;
}

}  // extern "C"

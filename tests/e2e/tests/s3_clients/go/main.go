// Uses the S3 endpoint as Go programs do, with the SDK of AWS (version 2) as it is.
//
// Goal: programs that use the SDK need no change but the address of the endpoint, and the SDK
// repeats no call in secret whose transaction has ended.
//
// Method: each function of checks makes the calls of one kind and compares what it gets with what
// it sent. The HTTP client below the SDK's repetitions counts how often a call is really sent.
//
// Usage: go-clients S3_URL [NATIVE_URL]
//
// Keys are in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Longer transactions are tested if there
// is the URL of the native API; AFT_TOKEN has a token for it, if it needs one. The exit code is 0
// if everything is right.
package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const small = "some bytes\n"

var (
	bucket = fmt.Sprintf("go-%012x", rand.Int63n(1<<48))
	keys   = []string{"a", "a b", "a+b", "a%41b", "ä/ö", "a//b", "d/", "&<>\"'", "x=1&y=2?#", "~", "😀"}
	ctx    = context.Background()
	sdk    = client("", nil)
)

// counter counts the requests that a client really sends.
type counter struct {
	sent atomic.Int64
}

func (counter *counter) RoundTrip(request *http.Request) (*http.Response, error) {
	counter.sent.Add(1)
	return http.DefaultTransport.RoundTrip(request)
}

// client makes a client; with a token, its calls are parts of that transaction.
func client(token string, counted *counter) *s3.Client {
	key, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	options := s3.Options{
		BaseEndpoint: aws.String(os.Args[1]),
		Region:       "us-east-1",
		UsePathStyle: true,
		Credentials:  credentials.NewStaticCredentialsProvider(key, secret, ""),
	}
	if counted != nil {
		options.HTTPClient = &http.Client{Transport: counted}
	}
	if token != "" {
		name := smithyhttp.AddHeaderValue("Aft-Transaction", token)
		options.APIOptions = append(options.APIOptions, name)
	}
	return s3.New(options)
}

// must stops a check that has failed.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// expect stops a check that got something else than it should.
func expect(got, want any) {
	if fmt.Sprint(got) != fmt.Sprint(want) {
		panic(fmt.Sprintf("%.200v instead of %.200v", got, want))
	}
}

// fails makes sure that a call failed with a code.
func fails(err error, code string) {
	var failure smithy.APIError
	if !errors.As(err, &failure) {
		panic(fmt.Sprintf("%v instead of %s", err, code))
	}
	expect(failure.ErrorCode(), code)
}

func put(by *s3.Client, key, body string, more ...func(*s3.PutObjectInput)) (*s3.PutObjectOutput, error) {
	input := &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(body)}
	for _, change := range more {
		change(input)
	}
	return by.PutObject(ctx, input)
}

func get(by *s3.Client, key string) (string, error) {
	answer, err := by.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

// reads makes sure that an object has a body.
func reads(by *s3.Client, key, body string) {
	got, err := get(by, key)
	must(err)
	expect(got == body, true)
}

// list returns the keys with a prefix, with small pages.
func list(by *s3.Client, prefix string) (keys []string) {
	input := &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix, MaxKeys: aws.Int32(3)}
	pages := s3.NewListObjectsV2Paginator(by, input)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		must(err)
		for _, object := range page.Contents {
			keys = append(keys, *object.Key)
		}
	}
	return keys
}

func bodies() {
	large := strings.Repeat("0123456789", 900_000)
	for _, body := range []string{small, "", large} {
		answer, err := put(sdk, "body", body)
		must(err)
		sum := md5.Sum([]byte(body))
		expect(*answer.ETag, `"`+hex.EncodeToString(sum[:])+`"`)
		reads(sdk, "body", body)
	}
	for _, algorithm := range types.ChecksumAlgorithm("").Values()[:5] {
		_, err := put(sdk, "sum", small, func(input *s3.PutObjectInput) {
			input.ChecksumAlgorithm = algorithm
		})
		must(err)
		reads(sdk, "sum", small)
	}
}

func names() {
	var sorted []string
	for _, key := range keys {
		_, err := put(sdk, "names/"+key, key)
		must(err)
		reads(sdk, "names/"+key, key)
		sorted = append(sorted, "names/"+key)
	}
	slices.Sort(sorted)
	expect(strings.Join(list(sdk, "names/"), "\n"), strings.Join(sorted, "\n"))
}

func parts() {
	key := "parts"
	upload, err := sdk.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key})
	must(err)
	var done []types.CompletedPart
	var whole bytes.Buffer
	for number := int32(1); number <= 2; number++ {
		body := bytes.Repeat([]byte{byte(number)}, 5<<20)
		whole.Write(body)
		part, err := sdk.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: &bucket, Key: &key, UploadId: upload.UploadId, PartNumber: &number,
			Body: bytes.NewReader(body),
		})
		must(err)
		done = append(done, types.CompletedPart{ETag: part.ETag, PartNumber: &number, ChecksumCRC32: part.ChecksumCRC32})
	}
	_, err = sdk.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &bucket, Key: &key, UploadId: upload.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: done},
	})
	must(err)
	reads(sdk, key, whole.String())
}

func presigned() {
	_, err := put(sdk, "signed ä", small)
	must(err)
	input := &s3.GetObjectInput{Bucket: &bucket, Key: aws.String("signed ä")}
	url, err := s3.NewPresignClient(sdk).PresignGetObject(ctx, input)
	must(err)
	answer, err := http.Get(url.URL)
	must(err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	must(err)
	expect(string(body), small)
}

// once makes sure that a write fails with a code and was sent once.
func once(token, key, code string, more ...func(*s3.PutObjectInput)) {
	counted := &counter{}
	_, err := put(client(token, counted), key, small, more...)
	fails(err, code)
	expect(counted.sent.Load(), 1)
}

func conditions() {
	absent := func(input *s3.PutObjectInput) { input.IfNoneMatch = aws.String("*") }
	_, err := put(sdk, "lock", small, absent)
	must(err)
	once("", "lock", "PreconditionFailed", absent)
	once("", "lock", "PreconditionFailed", func(input *s3.PutObjectInput) {
		input.IfMatch = aws.String(`"other"`)
	})
}

// native calls the native API.
func native(path, body string) (answer struct{ Transaction string }) {
	request, err := http.NewRequest("POST", os.Args[2]+path, strings.NewReader(body))
	must(err)
	request.Header.Set("Content-Type", "application/json")
	if token := os.Getenv("AFT_TOKEN"); token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	got, err := http.DefaultClient.Do(request)
	must(err)
	defer got.Body.Close()
	expect(got.StatusCode < 300, true)
	if err := json.NewDecoder(got.Body).Decode(&answer); !errors.Is(err, io.EOF) {
		must(err)
	}
	return answer
}

func transaction() {
	token := native("/v1/transactions", "{}").Transaction
	inside := client(token, nil)
	_, err := put(inside, "t/1", "one")
	must(err)
	reads(inside, "t/1", "one")
	expect(list(inside, "t/"), []string{"t/1"})
	_, err = get(sdk, "t/1")
	fails(err, "NoSuchKey")
	native("/v1/transactions/"+token+"/commit", "{}")
	reads(sdk, "t/1", "one")
}

// aborted checks that the end of a transaction is told once: the SDK must not repeat a call in it.
func aborted() {
	token := native("/v1/transactions", "{}").Transaction
	_, err := put(client(token, nil), "gone", small)
	must(err)
	native("/v1/transactions/"+token+"/abort", "{}")
	once(token, "gone", "OperationAborted")
	_, err = get(sdk, "gone")
	fails(err, "NoSuchKey")
}

// expired checks the same of a transaction that has taken too long.
func expired() {
	token := native("/v1/transactions", `{"timeout_ms": 100}`).Transaction
	time.Sleep(500 * time.Millisecond)
	once(token, "late", "OperationAborted")
}

// empty deletes the bucket with its objects.
func empty() {
	for _, key := range list(sdk, "") {
		_, err := sdk.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
		must(err)
	}
	_, err := sdk.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &bucket})
	must(err)
}

// passes runs a check, and returns true if it passes. It prints the reason if it does not.
func passes(name string, check func()) (passed bool) {
	defer func() {
		if why := recover(); why != nil {
			fmt.Fprintf(os.Stderr, "FAILED %s: %v\n", name, why)
			passed = false
		}
	}()
	check()
	return true
}

func main() {
	checks := []struct {
		name string
		run  func()
	}{
		{"bodies", bodies}, {"names", names}, {"parts", parts}, {"presigned", presigned},
		{"conditions", conditions}, {"transaction", transaction}, {"aborted", aborted},
		{"expired", expired},
	}
	if len(os.Args) < 3 {
		checks = checks[:5]
	}
	_, err := sdk.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket})
	must(err)
	failed := 0
	for _, check := range checks {
		if !passes(check.name, check.run) {
			failed++
		}
	}
	empty()
	fmt.Printf("aws-sdk-go-v2 %s: %d passed, %d failed\n", aws.SDKVersion, len(checks)-failed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}

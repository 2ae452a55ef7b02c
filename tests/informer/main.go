// Prints the events that an informer of client-go receives for session trackers, one a line.
//
// The cluster tests build and run this program. It reads the kubeconfig from KUBECONFIG and the
// namespace from its first argument.
package main

import (
	"fmt"
	"os"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

var trackers = schema.GroupVersionResource{
	Group: "visibility.operator.metalbear.co", Version: "v1", Resource: "sessiontrackers",
}

func name(object any) string {
	if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = tombstone.Obj
	}
	return object.(metav1.Object).GetName()
}

func main() {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		panic(err)
	}
	client := dynamic.NewForConfigOrDie(config)
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, os.Args[1], nil)
	informer := factory.ForResource(trackers).Informer()
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { fmt.Println("added", name(object)) },
		UpdateFunc: func(_, object any) { fmt.Println("updated", name(object)) },
		DeleteFunc: func(object any) { fmt.Println("deleted", name(object)) },
	}); err != nil {
		panic(err)
	}
	stop := make(chan struct{})
	factory.Start(stop)
	if !cache.WaitForCacheSync(stop, informer.HasSynced) {
		panic("the cache did not sync")
	}
	fmt.Println("synced")
	<-stop
}
